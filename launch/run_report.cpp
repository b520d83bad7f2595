#include "launch/run_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "job/status.h"

namespace trireme {

void add_gpu(nlohmann::ordered_json& rank, const GpuMonitor& gpu) {
  if (auto report = gpu.report()) rank["gpu"] = *std::move(report);
}

PhaseSeconds mean_phases(Session& session, double total) {
  Communicator& world = session.world();
  const StepTimes& t = session.runner().times();
  auto mean = [&](double seconds) {
    return static_cast<double>(world.all_sum(static_cast<int64_t>(seconds * 1e6))) * 1e-6 / world.size();
  };
  return {.total = total,
          .prefill = mean(t.prefill),
          .decode = mean(t.decode),
          .communication = mean(t.communication),
          .waiting = mean(t.waiting)};
}

StepSpeeds speeds_of(const Session& session, const Pace& pace) {
  StepSpeeds speeds;
  const Forecast* forecast = session.forecast() ? &*session.forecast() : nullptr;
  const bool scores_prompts = session.options().prompt_logprobs >= 0;  // by the head, which no plan counts
  speeds.guessed = forecast && (!forecast->measured() || scores_prompts);
  if (const Pace::Phase& decode = pace.decode(); decode.rows > 0) {
    speeds.decode_ms = decode.ms_per_token();
    speeds.sequences = decode.sequences();
    speeds.position = decode.position();
    if (forecast) speeds.planned_decode_ms = forecast->decode_ms(session.layout(), decode);
  }
  if (const Pace::Phase& prefill = pace.prefill(); prefill.rows > 0) {
    speeds.prefill_rate = 1e3 / prefill.ms_per_row();
    if (forecast) speeds.planned_prefill_rate = 1e3 / forecast->prefill_ms(session.layout(), prefill);
  }
  return speeds;
}

nlohmann::ordered_json all_ranks(Session& session, const Environment& environment, const GpuMonitor& gpu) {
  Communicator& world = session.world();
  nlohmann::ordered_json me = {
      {"rank", world.rank()}, {"host", environment.host}, {"peak_memory_bytes", peak_memory_bytes()}};
  const Session::Memory memory = session.memory();
  me["memory"] = {
      {"planned_bytes", memory.planned},
      {"held_bytes", memory.held},
      {"beside_bytes", memory.beside < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(memory.beside)},
      {"beside_bound_bytes", kRankBytes}};
  if (session.gpu()) {
    me["memory"]["gpu_planned_bytes"] = memory.planned_on_gpu;
    me["memory"]["gpu_held_bytes"] = memory.held_on_gpu;
  }
  add_gpu(me, gpu);
  if (auto motion = session.motion().report(); !motion.is_null()) me["motion"] = std::move(motion);
  const std::string mine = me.dump();
  auto ranks = nlohmann::ordered_json::array();
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine))))
    ranks.push_back(
        nlohmann::ordered_json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  return ranks;
}

std::string memory_summary(const nlohmann::ordered_json& ranks) {
  const auto off = [](const nlohmann::ordered_json& rank) {
    const nlohmann::ordered_json& m = rank.at("memory");
    return m.at("held_bytes").get<double>() / m.at("planned_bytes").get<double>() - 1;
  };
  const auto& worst = *std::max_element(
      ranks.begin(), ranks.end(), [&](const auto& a, const auto& b) { return std::abs(off(a)) < std::abs(off(b)); });
  const auto mib = [](const nlohmann::ordered_json& bytes) { return bytes.get<int64_t>() >> 20; };
  const nlohmann::ordered_json& m = worst.at("memory");
  std::string text =
      fmt::format("memory      rank {} holds {} MiB, planned {} ({:+.1f} % of it)", worst.at("rank").dump(),
                  mib(m.at("held_bytes")), mib(m.at("planned_bytes")), 100 * off(worst));
  int64_t beside = -1;
  for (const auto& rank : ranks)
    if (const auto& bytes = rank.at("memory").at("beside_bytes"); !bytes.is_null())
      beside = std::max(beside, bytes.get<int64_t>());
  if (beside >= 0) text += fmt::format("; libraries of a rank {} MiB of {} at most", beside >> 20, kRankBytes >> 20);
  return text + "\n";
}

}  // namespace trireme

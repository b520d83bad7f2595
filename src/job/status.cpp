#include "job/status.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

namespace trireme {

nlohmann::ordered_json Status::to_json(int64_t unix_seconds) const {
  nlohmann::ordered_json json;
  json["state"] = state;
  json["exit_code"] = exit_code < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(exit_code);
  json["message"] = message;
  json["documents_done"] = tally.rows_done;
  json["documents_total"] = tally.rows_total;
  json["errors"] = tally.rows_failed;
  json["prompt_tokens"] = tally.prompt_tokens;
  json["completion_tokens"] = tally.completion_tokens;
  json["tokens_so_far"] = tokens_so_far(tally);
  json["seconds"] = seconds;
  json["tokens_per_second"] = tokens_per_second(tally, seconds);
  double left = seconds_left(tally, seconds);
  bool known = state == "running" && left >= 0;
  json["predicted_end"] = known ? nlohmann::ordered_json(utc_time(unix_seconds + static_cast<int64_t>(std::ceil(left))))
                                : nlohmann::ordered_json();
  json["updated"] = utc_time(unix_seconds);
  json["phase_seconds"] = {{"prefill", phases.prefill},
                           {"decode", phases.decode},
                           {"communication", phases.communication},
                           {"waiting", phases.waiting}};
  const auto known_or_null = [](double figure) {
    return figure > 0 ? nlohmann::ordered_json(figure) : nlohmann::ordered_json();
  };
  json["steps"] = {{"decode_ms_per_token", known_or_null(speeds.decode_ms)},
                   {"planned_decode_ms_per_token", known_or_null(speeds.planned_decode_ms)},
                   {"decode_sequences", known_or_null(speeds.sequences)},
                   {"decode_position", known_or_null(speeds.position)},
                   {"prefill_tokens_per_second", known_or_null(speeds.prefill_rate)},
                   {"planned_prefill_tokens_per_second", known_or_null(speeds.planned_prefill_rate)},
                   {"guessed", speeds.guessed}};
  const int64_t memory = memory_bytes();
  json["memory_bytes"] = memory;
  json["peak_memory_bytes"] = std::max(memory, peak_memory_bytes());  // the kernel counts them by different clocks
  if (const std::string throttling = throttling_text(ranks); !throttling.empty()) json["gpu_throttling"] = throttling;
  if (!ranks.is_null()) json["ranks"] = ranks;
  return json;
}

std::string throttling_text(const nlohmann::ordered_json& ranks) {
  const auto throttled = [](const nlohmann::ordered_json& rank) {
    return rank.contains("gpu") ? rank["gpu"].value("throttled_samples", int64_t{0}) : 0;
  };
  const auto worst = std::max_element(ranks.begin(), ranks.end(),
                                      [&](const auto& a, const auto& b) { return throttled(a) < throttled(b); });
  if (worst == ranks.end() || throttled(*worst) == 0) return "";
  const nlohmann::ordered_json& gpu = worst->at("gpu");
  std::string text = fmt::format("the GPU of rank {} on {} was throttled in {} of {} samples ({})",
                                 worst->value("rank", 0), worst->value("host", ""), throttled(*worst),
                                 gpu.value("samples", int64_t{0}), gpu.value("throttle_seen", ""));
  if (gpu.contains("sm_clock_lowest_mhz"))
    text += fmt::format(", its SM clock down to {} MHz", gpu["sm_clock_lowest_mhz"].dump());
  if (gpu.contains("sm_clock_max_mhz")) text += fmt::format(", of {} at most", gpu["sm_clock_max_mhz"].dump());
  if (ranks.size() > 1)
    text +=
        fmt::format("; of {} ranks' GPUs {} were", ranks.size(),
                    std::count_if(ranks.begin(), ranks.end(), [&](const auto& rank) { return throttled(rank) > 0; }));
  return text;
}

int64_t memory_bytes() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> statm(std::fopen("/proc/self/statm", "r"), std::fclose);
  long total_pages = 0, resident_pages = 0;
  if (!statm || std::fscanf(statm.get(), "%ld %ld", &total_pages, &resident_pages) != 2) return 0;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

int64_t peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;  // ru_maxrss is in KiB on Linux
}

}  // namespace trireme

#include <algorithm>
#include <future>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "launch/bench.h"
#include "launch/model_file.h"
#include "launch/probe_limits.h"
#include "launch/session.h"

namespace trireme {

namespace {

// What one step reads and computes, by arithmetic on the model: the yardstick of decode and of prefill.
struct Work {
  double weight_bytes = 0;   // of all layers and the head, as stored: read once a step
  double flops_per_row = 0;  // two for each weight of the layers
};

Work work_of(const WeightSource& source) {
  Work work;
  bool tied = !source.find_tensor("head");
  for (const TensorInfo& t : source.tensors()) {
    double bytes = 0;
    for (const auto& part : t.parts) bytes += static_cast<double>(part.unit_bytes) * t.units;
    bool embedding = t.name == "embedding", head = t.name == "head" || (embedding && tied);
    if (!embedding || head) work.weight_bytes += bytes;
    if (!embedding && !head && t.rows > 1)
      work.flops_per_row += 2.0 * static_cast<double>(t.rows) * static_cast<double>(t.columns);
  }
  return work;
}

// Token ids that no tokenizer chose: the cost of a step does not depend on them.
std::vector<int32_t> any_prompt(int64_t tokens, int64_t vocab_size, int64_t salt) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens));
  for (size_t i = 0; i < prompt.size(); i++)
    prompt[i] = static_cast<int32_t>((static_cast<int64_t>(i) * 7919 + salt * 104729) % vocab_size);
  return prompt;
}

// One replica's measurement: `sequences` requests of `prompt` tokens that generate `generate` each. Tokens per second
// of the steps with decode rows alone, or of those with a prefill chunk.
double measure(Session& session, Engine& engine, int64_t sequences, int64_t prompt, int64_t generate, bool decode) {
  const StepTimes before = session.runner().times();
  for (int64_t i = 0; i < sequences; i++) {
    Request request;
    request.row = static_cast<uint64_t>(i);
    request.prompt = any_prompt(prompt, session.config().vocab_size, i);
    request.sampling.max_tokens = generate;
    request.sampling.ignore_eos = true;
    engine.submit(std::move(request));
  }
  while (!engine.idle()) engine.step();
  for (const Completion& done : engine.take_finished())
    if (done.completion_tokens != generate || !done.error_message.empty())
      fail(ExitCode::internal, "internal error: {} of {} tokens came ({})", done.completion_tokens, generate,
           done.error_message);
  const StepTimes& after = session.runner().times();
  double seconds = decode ? after.decode - before.decode : after.prefill - before.prefill;
  int64_t tokens = decode ? after.decode_tokens - before.decode_tokens : after.prefill_tokens - before.prefill_tokens;
  return static_cast<double>(tokens) / seconds;
}

// Limits of `cpus` (rank 0's, before the engine pinned its threads), asked while the other ranks wait. By another
// thread: a team pins who makes it.
Limits limits_beside(Session& session, const std::vector<int>& cpus, bool compute) {
  auto probe = [&] {
    ThreadPool pool(static_cast<int>(cpus.size()), cpus);
    return compute ? probe_limits(pool) : Limits{.read_gbps = probe_read_gbps(pool)};
  };
  Limits limits;
  session.world().barrier();
  if (session.world().rank() == 0) limits = std::async(std::launch::async, probe).get();
  session.world().barrier();
  return limits;
}

// The machine's peak for products of this model's kind; a level below the machine's, or 8-bit codes on AVX2, stay under
// it.
double compute_peak(const Limits& limits, const Session& session) {
  const WeightFormat& format = session.source().get_tensor("layers.0.mlp.gate").format;
  if (session.options().numerics == "exact") return limits.fma_gflops;
  if (format.quantized() && limits.int8_gops > 0) return limits.int8_gops;
  return format.type == DType::bf16 && limits.bf16_gflops > 0 ? limits.bf16_gflops : limits.fma_gflops;
}

struct Plan {
  const char* name;
  bool decode;
  int64_t sequences, prompt, generate;
};

void bench_engine(const Plan& plan, const Options& options, Communicator& world) {
  Options wide = options;
  wide.max_seqs = std::max(options.max_seqs, plan.sequences);
  if (options.dp > 1) fail(ExitCode::usage, "--dp {}: a benchmark measures one replica; leave --dp out", options.dp);
  if (options.device != "cpu")
    fail(ExitCode::configuration, "--device {}: the limits that bench measures are the CPU's; try bench/gpu.sh",
         options.device);
  wide.dp = 1;
  Log log(options.log_level, world.rank());
  const std::vector<int> cpus = allowed_cpus();
  Session session(wide, world, std::make_unique<Checkpoint>(checkpoint_of(options.model, world, log)));
  const int64_t positions = plan.prompt + plan.generate, context = session.config().max_positions;
  if (positions > context)
    fail(ExitCode::usage, "{} tokens do not fit the model's context of {}; lower --prompt-tokens{}", positions, context,
         plan.decode ? " or --steps" : "");
  session.load();

  std::vector<double> rates;
  std::vector<double> limits;
  Engine engine(session.replica(), session.runner(), nullptr, session.config(), session.scheduler_limits());
  for (int64_t sample = -1; sample < options.repeats; sample++) {  // -1: to warm up
    Limits before = limits_beside(session, cpus, !plan.decode && sample == 0);
    if (session.leads_replica()) {
      double rate = measure(session, engine, plan.sequences, plan.prompt, plan.generate, plan.decode);
      if (sample >= 0) rates.push_back(rate);
      engine.stop();
    } else {
      follow(session.replica(), session.runner());
    }
    if (sample >= 0 && plan.decode) limits.push_back(before.read_gbps);
    if (sample == 0 && !plan.decode) limits.push_back(compute_peak(before, session));
  }
  if (!session.leads_replica()) return;
  Work work = work_of(session.source());
  double rate = median(rates);
  double used =
      plan.decode ? work.weight_bytes * rate / static_cast<double>(plan.sequences) : work.flops_per_row * rate;
  print_figure({plan.name,
                "tok/s",
                rates,
                used / 1e9,
                median(limits),
                plan.decode ? "GB/s" : "GOP/s",
                {{"batch", plan.sequences},
                 {"prompt_tokens", plan.prompt},
                 {"weight_bytes", static_cast<uint64_t>(work.weight_bytes)},
                 {"layout", session.layout_text()}}},
               options);
}

}  // namespace

void bench_decode(const Options& options, Communicator& world) {
  int64_t prompt = options.given("prompt-tokens") ? options.prompt_tokens : 16;
  bench_engine({"decode", true, options.batch, prompt, options.steps}, options, world);
}

void bench_prefill(const Options& options, Communicator& world) {
  bench_engine({"prefill", false, 1, options.prompt_tokens, 0}, options, world);
}

}  // namespace trireme

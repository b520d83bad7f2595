#include <algorithm>
#include <chrono>
#include <future>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "launch/bench.h"
#include "launch/model_file.h"
#include "launch/probe_limits.h"
#include "launch/probe_products.h"
#include "launch/session.h"
#include "launch/together.h"
#include "model/import.h"
#include "model/shapes.h"
#include "model/synthetic_weights.h"

namespace trireme {

namespace {

struct Plan {
  const char* name;
  bool decode;
  int64_t sequences, prompt, generate;
};

// What one step reads and computes, by arithmetic on the model: the yardstick of decode and of prefill.
struct Work {
  double weight_bytes = 0;   // of all layers and the head, as stored: read once a step
  double cache_bytes = 0;    // keys and values that the sequences' rows see in the middle of decoding
  double flops_per_row = 0;  // two for each weight of the layers
};

Work work_of(const Session& session, const Plan& plan) {
  Work work;
  const ModelConfig& c = session.config();
  const int64_t position = KvCache::block_bytes(c.num_kv_heads, c.head_dim, session.kv_type()) / kBlockTokens;
  const int64_t middle = plan.prompt + plan.generate / 2;
  for (int64_t window : c.layer_windows)
    work.cache_bytes +=
        static_cast<double>(plan.sequences * position * (window > 0 ? std::min(window, middle) : middle));
  bool tied = !session.source().find_tensor("head");
  for (const TensorInfo& t : session.source().tensors()) {
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

// One replica's measurement. Tokens per second of the steps with decode rows alone, or of those with a prefill chunk.
// By the leader's clock from step to step: its own stage's time is a part of that alone.
double measure(Session& session, Engine& engine, const Plan& plan) {
  using Clock = std::chrono::steady_clock;
  const StepTimes before = session.runner().times();
  // A GPU's cache is memory of its own from the start, and costs the same whatever is in it. The host's is not: pages
  // that nobody has written are all one page of zeros.
  const bool assumed = plan.decode && session.gpu();
  // The step that computes the end of a prompt, and gives its first token, is none of decoding.
  const int64_t generate = plan.generate + (plan.decode && !assumed ? 1 : 0);
  for (int64_t i = 0; i < plan.sequences; i++) {
    Request request;
    request.row = static_cast<uint64_t>(i);
    request.prompt = any_prompt(plan.prompt, session.config().vocab_size, i);
    if (assumed) request.assumed_positions = static_cast<int32_t>(plan.prompt - 1);
    request.sampling.max_tokens = generate;
    request.sampling.ignore_eos = true;
    engine.submit(std::move(request));
  }
  const StepTimes& now = session.runner().times();
  double seconds = 0;
  while (!engine.idle()) {
    const int64_t prefilled = now.prefill_tokens;
    const Clock::time_point start = Clock::now();
    engine.step();
    const bool decoding = now.prefill_tokens == prefilled;
    if (decoding || !plan.decode) seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
  for (const Completion& done : engine.take_finished())
    if (done.completion_tokens != generate || !done.error_message.empty())
      fail(ExitCode::internal, "internal error: {} of {} tokens came ({})", done.completion_tokens, generate,
           done.error_message);
  const int64_t tokens =
      plan.decode ? now.decode_tokens - before.decode_tokens : now.prefill_tokens - before.prefill_tokens;
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

// Of rank 0's GPU, times the GPUs that there are. Nobody else needs them, so once is enough; before the KV cache takes
// the memory.
double gpu_gbps(Session& session) {
  double gbps = 0;
  together(session.world(), [&] {
    if (session.world().rank() == 0) gbps = probe_copy_gbps(*session.gpu());
  });
  return gbps * session.gpus();
}

// The same of products, whatever the numerics of the run. 0: there is no library, and `missing` says so.
double gpu_product_gflops(Session& session, std::string& missing) {
  double gflops = 0;
  together(session.world(), [&] {
    if (session.world().rank() != 0) return;
    const Kernels* fast = session.gpu()->fast_kernels(session.options().library_prefixes, missing);
    if (fast) gflops = probe_product_gflops(*session.gpu(), *fast);
  });
  return gflops * session.gpus();
}

// The machine's peak for products of this model's kind; a level below the machine's, or 8-bit codes on AVX2, stay under
// it.
double compute_peak(const Limits& limits, const Session& session) {
  const WeightFormat& format = session.source().get_tensor("layers.0.mlp.gate").format;
  if (session.numerics() == Numerics::exact) return limits.fma_gflops;
  if (format.quantized() && !format.e4m3 && limits.int8_gops > 0) return limits.int8_gops;
  return format.type == DType::bf16 && limits.bf16_gflops > 0 ? limits.bf16_gflops : limits.fma_gflops;
}

std::unique_ptr<WeightSource> source_of(const Options& options, Communicator& world, Log& log) {
  if (options.shape.empty()) return std::make_unique<Checkpoint>(checkpoint_of(options.model, world, log));
  const WeightChoice choice = options.dtype == "keep" ? WeightChoice::bf16 : weight_choice(options.dtype);
  return std::make_unique<SyntheticWeights>(fmt::format("{} with made-up weights of {}", options.shape,
                                                        choice == WeightChoice::bf16 ? "bf16" : options.dtype),
                                            get_shape(options.shape).config(), choice);
}

void bench_engine(const Plan& plan, const Options& options, Communicator& world) {
  Options wide = options;
  wide.max_seqs = std::max(options.max_seqs, plan.sequences);
  if (plan.decode) wide.max_step_tokens = std::max(options.max_step_tokens, plan.sequences);  // one step for all
  if (options.dp > 1) fail(ExitCode::usage, "--dp {}: a benchmark measures one replica; leave --dp out", options.dp);
  wide.dp = 1;
  Log log(options.log_level, world.rank());
  const std::vector<int> cpus = allowed_cpus();
  Session session(wide, world, source_of(options, world, log));
  const int64_t positions = plan.prompt + plan.generate + (plan.decode ? 1 : 0),
                context = session.config().max_positions;
  if (positions > context)
    fail(ExitCode::usage, "{} tokens do not fit the model's context of {}; lower --prompt-tokens{}", positions, context,
         plan.decode ? " or --steps" : "");
  std::vector<double> rates;
  std::vector<double> limits;
  const bool on_gpu = session.gpu() != nullptr;
  std::string no_limit;
  if (on_gpu) limits.push_back(plan.decode ? gpu_gbps(session) : gpu_product_gflops(session, no_limit));
  if (!session.numerics_remark().empty()) log.warn("{}", session.numerics_remark());
  session.load();
  const int64_t needed = plan.sequences * ((positions + kBlockTokens - 1) / kBlockTokens),
                there = session.scheduler_limits().kv_blocks;
  if (plan.decode && there < needed)
    fail(ExitCode::out_of_memory,
         "{} sequences of {} positions take {} blocks of KV cache, and there are {}: they would not decode together; "
         "lower --batch or --prompt-tokens, or raise --kv-gib",
         plan.sequences, positions, needed, there);

  Engine engine(session.replica(), session.runner(), nullptr, session.config(), session.scheduler_limits());
  for (int64_t sample = -1; sample < options.repeats; sample++) {  // -1: to warm up
    const Limits before = on_gpu ? Limits{} : limits_beside(session, cpus, !plan.decode && sample == 0);
    if (session.leads_replica()) {
      double rate = measure(session, engine, plan);
      if (sample >= 0) rates.push_back(rate);
      engine.stop();
    } else {
      follow(session.replica(), session.runner());
    }
    if (on_gpu) continue;
    if (sample >= 0 && plan.decode) limits.push_back(before.read_gbps);
    if (sample == 0 && !plan.decode) limits.push_back(compute_peak(before, session));
  }
  if (!session.leads_replica()) return;
  const Work work = work_of(session, plan);
  const double rate = median(rates);
  // Of decoding, a second, each of which reads all weights: stages have a part of the sequences each at a time.
  const int64_t in_flight = session.scheduler_limits().in_flight;
  const double steps = rate / static_cast<double>((plan.sequences + in_flight - 1) / in_flight);
  const double used = plan.decode ? (work.weight_bytes + work.cache_bytes / static_cast<double>(in_flight)) * steps
                                  : work.flops_per_row * rate;
  nlohmann::ordered_json about = {{"model", session.source().path()},
                                  {"batch", plan.sequences},
                                  {"prompt_tokens", plan.prompt},
                                  {"weight_bytes", static_cast<uint64_t>(work.weight_bytes)}};
  if (plan.decode) about["cache_bytes"] = static_cast<uint64_t>(work.cache_bytes);
  const std::string gpus = fmt::format("{} GPU{}", session.gpus(), session.gpus() == 1 ? "" : "s");
  if (on_gpu && plan.decode)
    about["limit_of"] = fmt::format("copies in the memory of {}, bytes read and written", gpus);
  if (on_gpu && !plan.decode)
    about["limit_of"] = no_limit.empty()
                            ? fmt::format("cuBLASLt's BF16 product of 8192 rows, columns and outputs on {}", gpus)
                            : fmt::format("nothing measured: {}", no_limit);
  about["layout"] = session.layout_text();
  print_figure({plan.name, "tok/s", rates, used / 1e9, median(limits), plan.decode ? "GB/s" : "GOP/s", about}, options);
}

}  // namespace

void bench_decode(const Options& options, Communicator& world) {
  int64_t prompt = options.given("prompt-tokens") ? options.prompt_tokens : 16;
  bench_engine({"decode", true, options.batch, prompt, options.steps}, options, world);
}

void bench_prefill(const Options& options, Communicator& world) {
  if (options.prompt_tokens < 2)
    fail(ExitCode::usage, "a prompt of one token is decoding, not prefill; raise --prompt-tokens");
  bench_engine({"prefill", false, 1, options.prompt_tokens, 0}, options, world);
}

}  // namespace trireme

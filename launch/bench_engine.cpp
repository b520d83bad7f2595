#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "launch/bench.h"
#include "launch/measure_steps.h"
#include "launch/model_file.h"
#include "launch/probe_limits.h"
#include "launch/probe_products.h"
#include "launch/session.h"
#include "launch/together.h"
#include "model/import.h"
#include "model/shapes.h"
#include "model/synthetic_weights.h"
#include "model/tensor_table.h"

namespace trireme {

namespace {

// What one step reads and computes, by arithmetic on the model: the yardstick of decode and of prefill.
struct Work {
  // Of all layers and the head, as stored: read once a step. Of experts those that some row of a step chooses, if all
  // are chosen alike.
  double weight_bytes = 0;
  double cache_bytes = 0;    // keys and values that the sequences' rows see in the middle of decoding
  double flops_per_row = 0;  // two for each weight of the layers that a row uses
  double head_flops = 0;     // of a row that is sampled
};

// rows: of a step.
Work work_of(const Session& session, const StepLoad& load, int64_t rows) {
  Work work;
  const ModelConfig& c = session.config();
  const int64_t position = KvCache::block_bytes(c.num_kv_heads, c.head_dim, session.kv_type()) / kBlockTokens;
  const int64_t middle = load.prompt + load.generate / 2;
  for (int64_t window : c.layer_windows)
    work.cache_bytes +=
        static_cast<double>(load.sequences * position * (window > 0 ? std::min(window, middle) : middle));
  bool tied = !session.source().find_tensor("head");
  const double chosen = c.num_experts > 0 ? static_cast<double>(c.experts_per_token) / c.num_experts : 1;
  for (const TensorInfo& t : session.source().tensors()) {
    const bool experts = is_experts(c, t.name, t.axis);
    double bytes = 0;
    for (const auto& part : t.parts) bytes += static_cast<double>(part.unit_bytes) * t.units;
    if (experts) bytes *= 1 - std::pow(1 - chosen, static_cast<double>(rows));
    bool embedding = t.name == "embedding", head = t.name == "head" || (embedding && tied);
    if (!embedding || head) work.weight_bytes += bytes;
    if (head) work.head_flops += 2.0 * static_cast<double>(t.rows) * static_cast<double>(t.columns);
    if (!embedding && !head && t.rows > 1)
      work.flops_per_row += 2.0 * static_cast<double>(t.rows) * static_cast<double>(t.columns) * (experts ? chosen : 1);
  }
  return work;
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
  if (options.shape.empty()) return open_checkpoint(checkpoint_of(options.model, world, log), world);
  const WeightChoice choice = options.dtype == "keep" ? WeightChoice::bf16 : weight_choice(options.dtype);
  return std::make_unique<SyntheticWeights>(fmt::format("{} with made-up weights of {}", options.shape,
                                                        choice == WeightChoice::bf16 ? "bf16" : options.dtype),
                                            get_shape(options.shape).config(), choice);
}

// Samples of a load, and the limits measured beside them.
struct Samples {
  std::vector<double> rates, limits;
};

// Loads of one kind in turn, by one engine.
class EngineBench {
 public:
  EngineBench(Session& session, const Options& options, std::vector<int> cpus)
      : session_(session), options_(options), cpus_(std::move(cpus)) {}

  void load(bool decode, Log& log) {
    if (gpu()) gpu_gflops_ = gpu_product_gflops(session_, no_library_);
    if (gpu() && decode) gpu_gbps_ = gpu_gbps(session_);
    if (!session_.numerics_remark().empty()) log.warn("{}", session_.numerics_remark());
    session_.load(log);
    for (const std::string& text : session_.gpu_memory_texts()) log.info("{}", text);
    engine_.emplace(session_.replica(), session_.runner(), nullptr, session_.config(), session_.scheduler_limits());
  }

  void run(const char* name, const StepLoad& load) {
    check_room(load);
    if (load.decode) fill_cache(session_, load.blocks());
    const Samples samples = measure(load);
    if (session_.leads_replica()) print(name, load, samples);
  }

 private:
  bool gpu() const { return session_.gpu() != nullptr; }

  void check_room(const StepLoad& load) const {
    const int64_t there = session_.scheduler_limits().kv_blocks;
    if (load.decode && there < load.blocks())
      fail(ExitCode::out_of_memory,
           "{} sequences of {} positions take {} blocks of KV cache, and there are {}: they would not decode together; "
           "lower --batch or --prompt-tokens, or raise --kv-gib",
           load.sequences, load.positions(), load.blocks(), there);
  }

  Samples measure(const StepLoad& load) {
    Samples samples;
    if (gpu()) samples.limits.push_back(load.decode ? gpu_gbps_ : gpu_gflops_);
    for (int64_t sample = -1; sample < options_.repeats; sample++) {  // -1: to warm up
      const Limits before = gpu() ? Limits{} : limits_beside(session_, cpus_, !load.decode && sample == 0);
      if (session_.leads_replica()) {
        double rate = measure_rate(session_, *engine_, load);
        if (sample >= 0) samples.rates.push_back(rate);
        engine_->stop();
      } else {
        follow(session_.replica(), session_.runner());
      }
      if (gpu()) continue;
      if (sample >= 0 && load.decode) samples.limits.push_back(before.read_gbps);
      if (sample == 0 && !load.decode) samples.limits.push_back(compute_peak(before, session_));
    }
    return samples;
  }

  void print(const char* name, const StepLoad& load, const Samples& samples) const {
    const double rate = median(samples.rates);
    // Of decoding, a second, each of which reads all weights: stages have a part of the sequences each at a time.
    const int64_t in_flight = session_.scheduler_limits().in_flight;
    const int64_t rows = (load.sequences + in_flight - 1) / in_flight;
    const Work work = work_of(session_, load, rows);
    const double steps = rate / static_cast<double>(rows);
    const double step_bytes = work.weight_bytes + work.cache_bytes / static_cast<double>(in_flight);
    const double used = load.decode ? step_bytes * steps : work.flops_per_row * rate;
    nlohmann::ordered_json about = {{"model", session_.source().path()},
                                    {"batch", load.sequences},
                                    {"prompt_tokens", load.prompt},
                                    {"weight_bytes", static_cast<uint64_t>(work.weight_bytes)}};
    if (load.decode) about["cache_bytes"] = static_cast<uint64_t>(work.cache_bytes);
    if (gpu() && load.decode)
      add_bounds(about, 1 / steps, step_bytes, static_cast<double>(rows) * (work.flops_per_row + work.head_flops));
    if (gpu()) about["limit_of"] = limit_of(load.decode);
    about["layout"] = session_.layout_text();
    print_figure(
        {name, "tok/s", samples.rates, used / 1e9, median(samples.limits), load.decode ? "GB/s" : "GOP/s", about},
        options_);
  }

  // What a step of decoding takes beside the least that memory and the library's products would.
  void add_bounds(nlohmann::ordered_json& about, double step, double bytes, double flops) const {
    const double memory = bytes / gpu_gbps_ / 1e9, products = gpu_gflops_ > 0 ? flops / gpu_gflops_ / 1e9 : 0;
    const auto us = [](double seconds) { return static_cast<int64_t>(std::llround(seconds * 1e6)); };
    about["step_us"] = us(step);
    about["memory_bound_us"] = us(memory);
    if (products > 0) {
      about["compute_bound_us"] = us(products);
      about["over_larger_bound"] = std::round(100 * (step / std::max(memory, products) - 1)) / 100;
    } else {
      about["compute_bound"] = "not measured: " + no_library_;
    }
  }

  std::string limit_of(bool decode) const {
    const std::string gpus = fmt::format("{} GPU{}", session_.gpus(), session_.gpus() == 1 ? "" : "s");
    if (decode) return fmt::format("copies in the memory of {}, bytes read and written", gpus);
    if (!no_library_.empty()) return fmt::format("nothing measured: {}", no_library_);
    return fmt::format("cuBLASLt's BF16 product of 8192 rows, columns and outputs on {}", gpus);
  }

  Session& session_;
  const Options& options_;
  std::vector<int> cpus_;
  std::optional<Engine> engine_;
  double gpu_gbps_ = 0, gpu_gflops_ = 0;
  std::string no_library_;  // why there are no GFLOP/s
};

// loads: not empty. They have the weights, and the layout of the one of most sequences.
void bench_engine(const char* name, std::span<const StepLoad> loads, const Options& options, Communicator& world) {
  const StepLoad& most = *std::ranges::max_element(loads, {}, &StepLoad::sequences);
  Options wide = options;
  wide.max_seqs = std::max(options.max_seqs, most.sequences);
  if (most.decode) wide.max_step_tokens = std::max(options.max_step_tokens, most.sequences);  // one step for all
  if (options.dp > 1) fail(ExitCode::usage, "--dp {}: a benchmark measures one replica; leave --dp out", options.dp);
  wide.dp = 1;
  Log log(options.log_level, world.rank());
  std::vector<int> cpus = allowed_cpus();
  const Demand demand{static_cast<double>(most.sequences), static_cast<double>(most.prompt),
                      most.decode ? static_cast<double>(most.generate) : 1.0};
  Session session(wide, world, source_of(options, world, log), demand);
  EngineBench bench(session, options, std::move(cpus));
  const int64_t context = session.config().max_positions;
  if (most.positions() > context)
    fail(ExitCode::usage, "{} tokens do not fit the model's context of {}; lower --prompt-tokens{}", most.positions(),
         context, most.decode ? " or --steps" : "");
  bench.load(most.decode, log);
  for (const StepLoad& load : loads) bench.run(name, load);
  if (!session.graphs_refused().empty()) log.warn("{}", session.graphs_refused());
}

}  // namespace

void bench_decode(const Options& options, Communicator& world) {
  int64_t prompt = options.given("prompt-tokens") ? options.prompt_tokens : 16;
  std::vector<StepLoad> loads;
  for (int64_t sequences : options.batches) loads.push_back({true, sequences, prompt, options.steps});
  bench_engine("decode", loads, options, world);
}

void bench_prefill(const Options& options, Communicator& world) {
  if (options.prompt_tokens < 2)
    fail(ExitCode::usage, "a prompt of one token is decoding, not prefill; raise --prompt-tokens");
  const StepLoad load{false, 1, options.prompt_tokens, 0};
  bench_engine("prefill", {&load, 1}, options, world);
}

}  // namespace trireme

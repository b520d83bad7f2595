#include "launch/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "comm/collective_bench.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "launch/bench_report.h"
#include "launch/calibration_file.h"
#include "launch/measure_steps.h"
#include "launch/probe_limits.h"
#include "model/import.h"
#include "model/shapes.h"
#include "model/synthetic_weights.h"
#include "plan/own_memory.h"
#include "topology/threads.h"

namespace trireme {

namespace {

using Curve = StepCosts::Curve;

// Made-up models, each of which shows one cost. wide: its products are nearly all, and of weights past any cache that
// a few cores have. broad and narrow: what the values of a layer take beside them, and the layer itself, as many layers
// less few. grouped and lone: their attention is most, with four query heads and with one to a KV head.
ModelShape shape_of(const char* name, int64_t hidden, int64_t intermediate, int layers, int heads, int kv_heads,
                    int head_dim) {
  return {name, "llama", hidden, intermediate, layers, heads, kv_heads,    head_dim, 512,
          4096, 1e4,     0,      1e-5,         true,   false, QkNorm::none};
}
const ModelShape kWide = shape_of("wide", 2048, 8192, 2, 16, 4, 128);
constexpr int kFewLayers = 8, kManyLayers = 40;
ModelShape narrow(int layers) { return shape_of("narrow", 128, 256, layers, 2, 1, 64); }
ModelShape broad(int layers) { return shape_of("broad", 512, 1536, layers, 8, 2, 64); }
const ModelShape kGrouped = shape_of("grouped", 128, 256, 64, 8, 2, 64),
                 kLone = shape_of("lone", 128, 256, 64, 2, 2, 64);

constexpr int64_t kDecodeRows[] = {1, 2, 4, 8, 16, 32, 64}, kPromptRows[] = {128, 256};
constexpr int64_t kMostFp8Rows = 16;  // CPUs unpack FP8 for a few rows at a time: more take as many times longer
constexpr int64_t kChunk = kStepTokens;
// Virtual machines share cores and memory with others for seconds or minutes, and what differs between two figures must
// not be that: all is measured in rounds, of which the mean counts.
constexpr int kRounds = 3;
constexpr int kMostSamples = 9;                                   // of a figure in a round, of which the median counts
constexpr double kSampleSeconds = 0.05, kFigureSeconds = 0.13;    // that one should last, and that all of a figure may
constexpr int64_t kFewestSteps = 4, kMostSteps = 64;              // of a sample; more would change the position
constexpr int64_t kShort = 4;                                     // tokens of a prompt that only begins a sequence
constexpr int64_t kLong = 2048;                                   // tokens of a long prompt
constexpr int64_t kNear = 128, kFar = 1024;                       // positions that attention is measured over: so many
constexpr int64_t kAttending = 16;                                // sequences then
constexpr double kLeastCache = 256e6;                             // that keys and values take more than this
constexpr int64_t kSmallBytes = 16 << 10, kLargeBytes = 1 << 20;  // exchanges of a decode step and of a prefill

double layer_parameters(const ModelShape& s) {
  const auto attention = 2.0 * (s.num_heads + s.num_kv_heads) * s.head_dim;
  return (attention + 3.0 * static_cast<double>(s.intermediate_size)) * static_cast<double>(s.hidden_size);
}
double layer_values(const ModelShape& s) { return static_cast<double>(s.hidden_size + s.intermediate_size); }

// A team pins the thread that makes it, which has its CPUs back after that.
struct Unpinned {
  std::vector<int> cpus = allowed_cpus();
  ~Unpinned() { stay_on(cpus); }
};

// Seconds of a step of one model, with so many threads. Where there are several ranks, each has a replica of its own
// and measures while the others do.
class Stopwatch {
 public:
  Stopwatch(const Options& options, Communicator& world, Log& log, const ModelShape& shape, WeightChoice weights,
            int threads)
      : session_(options_for(options, threads), world,
                 std::make_unique<SyntheticWeights>(shape.name, shape.config(), weights)) {
    session_.load(log);
    engine_.emplace(session_.replica(), session_.runner(), nullptr, session_.config(), session_.scheduler_limits());
  }

  double decode(int64_t rows, int64_t position) {
    StepLoad load{true, rows, position, kFewestSteps};
    const double step = static_cast<double>(rows) / measure_rate(session_, *engine_, load);  // warms up, too
    load.generate = std::clamp(static_cast<int64_t>(kSampleSeconds / step), kFewestSteps, kMostSteps);
    return static_cast<double>(rows) / rate(load);
  }
  double prompt(int64_t tokens) {
    const StepLoad load{false, 1, tokens, 0};
    measure_rate(session_, *engine_, load);
    return static_cast<double>(tokens) / rate(load);
  }

 private:
  static Options options_for(const Options& options, int threads) {
    Options o = options;
    o.tp = o.pp = 1;
    o.dp = 0;
    o.threads = threads;
    o.max_seqs = std::ranges::max(kDecodeRows);
    o.max_step_tokens = kChunk;
    const auto blocks = [](int64_t positions) { return (positions + 3 * kMostSteps) / kBlockTokens + 1; };
    o.kv_blocks = std::max({o.max_seqs * blocks(kShort), kAttending * blocks(kFar), blocks(kLong)});
    o.numerics = "standard";
    return o;
  }
  double rate(const StepLoad& load) {
    session_.world().barrier();
    const auto start = std::chrono::steady_clock::now();
    const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    std::vector<double> rates;
    do rates.push_back(measure_rate(session_, *engine_, load));
    while (std::ssize(rates) < kMostSamples && spent() < kFigureSeconds);
    return median(rates);
  }

  Unpinned after_;
  Session session_;
  std::optional<Engine> engine_;
};

// A half of the last caches: the weights pass through them between two uses of a key.
double cached_bytes() {
  const Host host = probe_host();
  return static_cast<double>(host.l3_bytes) * host.l3_caches / 2;
}

// A round of measurements of steps, and what follows from them.
class Round {
 public:
  Round(const Options& options, Communicator& world, Log& log) : options_(options), world_(world), log_(log) {}

  int threads() const { return threads_; }

  StepCosts measure_steps() {
    const std::pair<Precision, WeightChoice> kinds[] = {{Precision::int8, WeightChoice::int8},
                                                        {Precision::int4, WeightChoice::int4},
                                                        {Precision::bf16, WeightChoice::bf16},
                                                        {Precision::fp8, WeightChoice::fp8}};
    for (auto [precision, weights] : kinds) measure_products(costs_.products[static_cast<size_t>(precision)], weights);
    whole_step_ = costs_.products[static_cast<size_t>(Precision::int8)].ns_per_parameter.front() * 1e-9 * parameters();
    measure_layers();
    for (auto [precision, weights] : kinds) take_layers_off(costs_.products[static_cast<size_t>(precision)]);
    measure_attention();
    return costs_;
  }

  // How many times as fast one core of a rank's is alone as beside the others; after measure_steps().
  double lone_gain() {
    if (threads_ == 1) return 1;
    return whole_step_ * threads_ / stopwatch(kWide, WeightChoice::int8, 1).decode(1, kShort);
  }

 private:
  Stopwatch stopwatch(const ModelShape& shape, WeightChoice weights, int threads) {
    return {options_, world_, log_, shape, weights, threads};
  }

  // Whole steps, as nanoseconds a parameter: take_layers_off() leaves the products' own.
  void measure_products(Curve& curve, WeightChoice weights) {
    Stopwatch all(stopwatch(kWide, weights, threads_));
    const int64_t most = weights == WeightChoice::fp8 ? kMostFp8Rows : std::ranges::max(kPromptRows);
    for (int64_t rows : kDecodeRows)
      if (rows <= most) add(curve, rows, all.decode(rows, kShort));
    for (int64_t rows : kPromptRows)
      if (rows <= most) add(curve, rows, all.prompt(rows));
  }

  static double parameters() { return layer_parameters(kWide) * kWide.num_layers; }
  static void add(Curve& curve, int64_t rows, double seconds) {
    curve.rows.push_back(static_cast<double>(rows));
    curve.ns_per_parameter.push_back(seconds * 1e9 / parameters());
  }

  // A step of L layers: step + rows * sequence + L * (layer + rows * values * value + parameters * product(rows)). What
  // grows with the rows of a layer is its values and products: of broad ones, where waiting is a small part. What does
  // not is best seen on narrow ones.
  void measure_layers() {
    const Curve& curve = costs_.products[static_cast<size_t>(Precision::int8)];
    const auto products_ns = [&](const ModelShape& s, int64_t rows) {
      return layer_parameters(s) * curve.at(static_cast<double>(rows));
    };
    const LayerSeconds of_broad = layer_seconds(broad, {16, 64}), of_narrow = layer_seconds(narrow, {1, 64});
    const ModelShape b = broad(1), n = narrow(1);
    const double more_ns =
        (of_broad.layer.at(64) - of_broad.layer.at(16)) * 1e9 - (products_ns(b, 64) - products_ns(b, 16));
    costs_.value_ns = std::max(0.0, more_ns / (layer_values(b) * (64 - 16)));
    const double alone_ns = of_narrow.layer.at(1) * 1e9 - products_ns(n, 1) - layer_values(n) * costs_.value_ns;
    costs_.layer_us = std::max(0.0, alone_ns) * 1e-3;
    const auto fixed = [&](int64_t rows) {
      return (of_narrow.few.at(rows) - kFewLayers * of_narrow.layer.at(rows)) * 1e6;
    };
    costs_.sequence_us = std::max(0.0, (fixed(64) - fixed(1)) / (64 - 1));
    costs_.step_us = std::max(0.0, fixed(1) - costs_.sequence_us);
  }

  struct LayerSeconds {
    std::map<int64_t, double> few, layer;  // by rows: of a step of few layers, and of one layer of it
  };
  LayerSeconds layer_seconds(ModelShape (*shape)(int layers), std::initializer_list<int64_t> rows) {
    LayerSeconds s;
    {
      Stopwatch few(stopwatch(shape(kFewLayers), WeightChoice::int8, threads_));
      for (int64_t r : rows) s.few[r] = few.decode(r, kShort);
    }
    Stopwatch many(stopwatch(shape(kManyLayers), WeightChoice::int8, threads_));
    for (int64_t r : rows) s.layer[r] = (many.decode(r, kShort) - s.few[r]) / (kManyLayers - kFewLayers);
    return s;
  }

  void take_layers_off(Curve& curve) const {
    for (size_t i = 0; i < curve.rows.size(); i++) {
      const double rows = curve.rows[i];
      const bool decode = rows <= static_cast<double>(std::ranges::max(kDecodeRows));
      const double beside = kWide.num_layers * (costs_.layer_us * 1e3 + rows * layer_values(kWide) * costs_.value_ns) +
                            (costs_.step_us + (decode ? rows * costs_.sequence_us : 0)) * 1e3;
      const double ns = curve.ns_per_parameter[i] - beside / parameters();
      curve.ns_per_parameter[i] = std::max(ns, 0.1 * curve.ns_per_parameter[i]);
    }
  }

  // Where keys and values are past all caches, as those of a model's many layers are. A position costs the query heads
  // their arithmetic and the KV heads their bytes: two shapes tell them apart.
  void measure_attention() {
    const double row = static_cast<double>(kGrouped.num_layers) * kGrouped.num_kv_heads * kGrouped.head_dim;
    const double bytes = row * kAttending * 2 * sizeof(uint16_t);  // of a position
    const auto far = static_cast<int64_t>(
        std::clamp(std::max(kLeastCache, 6 * cached_bytes()) / bytes / world_.size(), double{kNear}, double{kFar}));
    const auto position_ns = [&](const ModelShape& shape) {  // of one KV head's value
      Stopwatch watch(stopwatch(shape, WeightChoice::int8, threads_));
      const double seconds = watch.decode(kAttending, far) - watch.decode(kAttending, kShort);
      if (shape.num_heads == kGrouped.num_heads) measure_prompts(watch);
      return std::max(0.0, seconds) * 1e9 / (row * kAttending * static_cast<double>(far - kShort));
    };
    const double grouped = position_ns(kGrouped), lone = position_ns(kLone);
    const double heads = kGrouped.num_heads / kGrouped.num_kv_heads;
    costs_.attend_ns = std::max(0.0, (grouped - lone) / (heads - 1));
    const double read = 1 - cached_bytes() / world_.size() / (static_cast<double>(far) * bytes);
    costs_.kv_ns = std::max(0.0, lone - costs_.attend_ns) / std::max(0.1, read);
  }

  // Of a model of kGrouped.
  void measure_prompts(Stopwatch& watch) {
    constexpr int64_t kChunks = kLong / kChunk;
    const double values = static_cast<double>(kGrouped.num_layers) * kGrouped.num_heads * kGrouped.head_dim;
    const double more = watch.prompt(kLong) - kChunks * watch.prompt(kChunk);
    const double pairs = 0.5 * (static_cast<double>(kLong * kLong) - kChunks * static_cast<double>(kChunk * kChunk));
    costs_.attend_prompt_ns = std::max(0.0, more) * 1e9 / (values * pairs);
  }

  const Options& options_;
  Communicator& world_;
  Log& log_;
  // As a run has them: one a core, whatever hardware threads it has.
  int threads_ = thread_plan(Machine::of({probe_rank(std::nullopt)}), 0, static_cast<int>(options_.threads)).threads;
  StepCosts costs_;
  double whole_step_ = 0;  // seconds of one row of kWide, INT8
};

// Of ranks with a core each: one while the others wait, as stages of a pipeline do, and in turn with all at work.
double lone_gain(const Options& options, Communicator& world, Log& log) {
  Communicator self = world.split(world.rank(), 0);
  Stopwatch all(options, world, log, kWide, WeightChoice::int8, 1),
      one(options, self, log, kWide, WeightChoice::int8, 1);
  const double beside = all.decode(1, kShort);
  const double gain = world.rank() == 0 ? beside / one.decode(1, kShort) : 1;
  world.barrier();
  return gain;
}

// Sets lone_core by a round's `gain`.
template <typename Gain>
StepCosts measure_rounds(const Options& options, Communicator& world, Log& log, HostCosts& costs, const Gain& gain) {
  std::vector<StepCosts> rounds;
  double gains = 0;
  for (int i = 0; i < kRounds; i++) {
    log.info("steps of made-up models, round {} of {}", i + 1, kRounds);
    Round round(options, world, log);
    rounds.push_back(round.measure_steps());
    gains += gain(round);
  }
  costs.lone_core = std::max(1.0, gains / kRounds);
  return StepCosts::mean_of(rounds);
}

// By one rank that has all cores.
HostCosts measure_host(const Options& options, Communicator& world, Log& log) {
  const std::vector<int> cpus = allowed_cpus();
  HostCosts costs{.cached_bytes = cached_bytes(), .reduce_us = 5, .reduce_bytes_per_s = 4e9};
  costs.whole = measure_rounds(options, world, log, costs, [&](Round& round) {
    costs.cores = round.threads();
    const Unpinned after;
    ThreadPool pool(static_cast<int>(cpus.size()), cpus);
    costs.read_bytes_per_s = std::max(costs.read_bytes_per_s, probe_read_gbps(pool) * 1e9);  // a bound: the most
    return round.lone_gain();
  });
  return costs;
}

// Of the ranks of one host that have a core each.
void measure_cores(const Options& options, Communicator& world, Log& log, HostCosts& costs) {
  if (world.size() != static_cast<int>(costs.cores)) {
    log.info("steps of ranks with a core each: not measured; start {:.0f} ranks for that", costs.cores);
    return;
  }
  Options one = options;
  one.threads = 1;
  costs.core = measure_rounds(one, world, log, costs, [&](Round&) { return lone_gain(one, world, log); });
}

// Of the ranks of one host, in place of the figures that stand in its file.
void measure_exchange(Communicator& world, HostCosts& costs) {
  const auto fabric = Fabric::create(world);
  CpuDevice device(1, {});
  const Kernels kernels = select_kernels(available_levels().back());
  const auto timings = bench_collectives(world, *fabric, device, kernels, {kSmallBytes, kLargeBytes}, 2000);
  const double more_us = timings[1].median_us - timings[0].median_us;
  const double more_bytes = static_cast<double>(timings[1].bytes - timings[0].bytes) * (world.size() - 1);
  costs.reduce_bytes_per_s = more_bytes / std::max(more_us, 1e-3) * 1e6;
  const double small = static_cast<double>(timings[0].bytes) * (world.size() - 1) / costs.reduce_bytes_per_s * 1e6;
  costs.reduce_us = std::max(0.1, timings[0].median_us - small);
}

void print_steps(const StepCosts& c, const char* of) {
  if (c.empty()) return;
  fmt::print("{}\n{:<8}", of, "rows");
  for (double rows : c.curve(Precision::bf16).rows) fmt::print("{:>8.0f}", rows);
  fmt::print("   ns a parameter\n");
  for (int p = 0; p < kPrecisions; p++) {
    if (c.products[p].empty()) continue;
    fmt::print("{:<8}", precision_name(static_cast<Precision>(p)));
    for (double ns : c.products[p].ns_per_parameter) fmt::print("{:>8.4f}", ns);
    fmt::print("\n");
  }
  fmt::print(
      "a step {:.1f} us, a sequence {:.2f} us, a layer {:.1f} us, a value {:.3f} ns; attention {:.4f} ns and {:.4f} "
      "decoding, {:.4f} in prompts\n",
      c.step_us, c.sequence_us, c.layer_us, c.value_ns, c.attend_ns, c.kv_ns, c.attend_prompt_ns);
}

void print_costs(const HostCosts& c, const Options& options) {
  if (options.json) return fmt::print("{}\n", c.to_json().dump());
  fmt::print(
      "{:.0f} cores, reads {:.1f} GB/s; one core alone is {:.2f} times as fast as beside the others; an exchange "
      "{:.1f} us and {:.1f} GB/s\n",
      c.cores, c.read_bytes_per_s * 1e-9, c.lone_core, c.reduce_us, c.reduce_bytes_per_s * 1e-9);
  print_steps(c.whole, "a rank of all cores:");
  print_steps(c.core, "a rank of one core, beside others:");
}

}  // namespace

void calibrate(const Options& options, Communicator& world) {
  if (options.device != "cpu")
    fail(ExitCode::usage, "--calibrate measures CPUs; leave --device {} out", options.device);
  Log log(options.log_level, world.rank());
  const Host host = probe_host();
  const std::string level(options.level == "auto" ? available_levels().back() : std::string_view(options.level));
  HostCosts costs;
  if (world.size() == 1) {
    costs = measure_host(options, world, log);
  } else {
    const std::optional<HostCosts> before = read_calibration(host, level);
    if (world.all_min(before.has_value()) == 0)
      fail(ExitCode::usage,
           "--calibrate by {} ranks adds to this host's calibration, and there is none; run trireme "
           "bench --calibrate alone first",
           world.size());
    costs = *before;
    measure_exchange(world, costs);
    measure_cores(options, world, log, costs);
  }
  if (world.rank() != 0) return;
  write_calibration(host, level, costs);
  print_costs(costs, options);
  log.info("kept in {}", calibration_path(host, level));
  if (world.size() == 1 && costs.cores > 1)
    log.info("next: mpirun -n {:.0f} trireme bench --calibrate, for layouts of several ranks", costs.cores);
}

}  // namespace trireme

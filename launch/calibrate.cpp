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

// Made-up models, each of which shows one cost. wide and broad: large and small layers, of weights past any cache that
// a few cores have. narrow: layers that are nearly nothing, as many less few. grouped and lone: their attention is
// most, with four query heads and with one to a KV head.
ModelShape shape_of(const char* name, int64_t hidden, int64_t intermediate, int layers, int heads, int kv_heads,
                    int head_dim) {
  return {name, "llama", hidden, intermediate, layers, heads, kv_heads,    head_dim, 512,
          4096, 1e4,     0,      1e-5,         true,   false, QkNorm::none};
}
const ModelShape kWide = shape_of("wide", 2048, 8192, 2, 16, 4, 128);
constexpr int kFewLayers = 8, kManyLayers = 40;
ModelShape narrow(int layers) { return shape_of("narrow", 128, 256, layers, 2, 1, 64); }
const ModelShape kBroad = shape_of("broad", 512, 1536, 40, 8, 2, 64);
ModelShape grouped(int layers) { return shape_of("grouped", 128, 256, layers, 8, 2, 64); }
ModelShape lone(int layers) { return shape_of("lone", 128, 256, layers, 2, 2, 64); }

constexpr int64_t kDecodeRows[] = {1, 2, 4, 8, 16, 32, 64}, kPromptRows[] = {128, 256};
constexpr int64_t kMostFp8Rows = 16;  // CPUs unpack it for a few rows at a time: more take as many times longer
constexpr double kLeastNs = 1e-6;     // of a parameter: noise may leave nothing
constexpr int64_t kChunk = kStepTokens;
// Virtual machines share cores and memory with others for seconds or minutes, and what differs between two figures must
// not be that: all is measured in rounds, of which the mean counts.
constexpr int kRounds = 3;
constexpr int kMostSamples = 9;                                 // of a figure in a round, of which the median counts
constexpr double kSampleSeconds = 0.03, kFigureSeconds = 0.08;  // that one should last, and that all of a figure may
constexpr int64_t kFewestSteps = 4, kMostSteps = 16;            // of a sample; more would change the position
constexpr int64_t kShort = 4;                                   // tokens of a prompt that only begins a sequence
constexpr int64_t kLong = 2048;                                 // tokens of a long prompt
// Positions that attention is measured over, by so many sequences: near, in few layers, so few that a quarter of the
// caches holds keys and values; far, in many, that these are more than most caches.
constexpr int64_t kAttending = 16, kNearest = 32, kNear = 256, kFarther = 128, kFar = 1024;
constexpr int kFarLayers = 64;
constexpr double kLeastCache = 256e6, kLeastRead = 0.3;           // of which so much is read from memory
constexpr int64_t kSmallBytes = 16 << 10, kLargeBytes = 1 << 20;  // exchanges of a decode step and of a prefill

double layer_parameters(const ModelShape& s) {
  const auto attention = 2.0 * (s.num_heads + s.num_kv_heads) * s.head_dim;
  return (attention + 3.0 * static_cast<double>(s.intermediate_size)) * static_cast<double>(s.hidden_size);
}

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

// How many times as fast one core is while the others rest.
struct LoneGain {
  double decode = 1, prompt = 1;
};

// A round of measurements of steps, and what follows from them.
class Round {
 public:
  Round(const Options& options, Communicator& world, Log& log) : options_(options), world_(world), log_(log) {}

  int threads() const { return threads_; }

  StepCosts measure_steps() {
    measure_attention();
    measure_fixed();
    const std::pair<Precision, WeightChoice> kinds[] = {{Precision::int8, WeightChoice::int8},
                                                        {Precision::int4, WeightChoice::int4},
                                                        {Precision::bf16, WeightChoice::bf16},
                                                        {Precision::fp8, WeightChoice::fp8}};
    for (auto [precision, weights] : kinds) {
      for (const ModelShape& shape : {narrow(kManyLayers), kBroad, kWide})
        costs_.layers[static_cast<size_t>(precision)].push_back(measure_layers(shape, weights));
    }
    return costs_;
  }

  LoneGain lone_gain() {
    const auto seconds = [&](int threads) {
      Stopwatch watch(stopwatch(kWide, WeightChoice::int8, threads));
      return std::pair(watch.decode(1, kShort), watch.prompt(kChunk));
    };
    const auto all = seconds(threads_), one = seconds(1);
    return {all.first * threads_ / one.first, all.second * threads_ / one.second};
  }

 private:
  Stopwatch stopwatch(const ModelShape& shape, WeightChoice weights, int threads) {
    return {options_, world_, log_, shape, weights, threads};
  }

  // Of a step beside its layers, of few rows and of many.
  void measure_fixed() {
    constexpr int64_t kRows = std::ranges::max(kDecodeRows);
    const auto microseconds = [&](int layers) {
      Stopwatch watch(stopwatch(narrow(layers), WeightChoice::int8, threads_));
      return std::pair(watch.decode(1, kShort) * 1e6, watch.decode(kRows, kShort) * 1e6);
    };
    const auto few = microseconds(kFewLayers), many = microseconds(kManyLayers);
    constexpr double kPart = double{kFewLayers} / (kManyLayers - kFewLayers);
    const double one = few.first - kPart * (many.first - few.first),
                 all = few.second - kPart * (many.second - few.second);
    costs_.sequence_us = std::max(0.0, (all - one) / (kRows - 1));
    costs_.step_us = std::max(0.0, one - costs_.sequence_us);
  }
  double fixed_ns(double sequences) const { return (costs_.step_us + sequences * costs_.sequence_us) * 1e3; }

  // What is left of steps: layers. The few positions that decoding rows see count as theirs.
  StepCosts::Layers measure_layers(const ModelShape& shape, WeightChoice weights) {
    const int64_t most = weights == WeightChoice::fp8 ? kMostFp8Rows : std::ranges::max(kPromptRows);
    Stopwatch watch(stopwatch(shape, weights, threads_));
    StepCosts::Layers layers{.parameters = layer_parameters(shape), .curve = {}};
    const auto add = [&](int64_t rows, double step_ns) {
      const double ns = std::max(step_ns, 0.0) / shape.num_layers / layers.parameters;
      layers.curve.rows.push_back(static_cast<double>(rows));
      layers.curve.ns_per_parameter.push_back(std::max(ns, kLeastNs));
    };
    for (int64_t rows : kDecodeRows)
      if (rows <= most) add(rows, watch.decode(rows, kShort) * 1e9 - fixed_ns(static_cast<double>(rows)));
    for (int64_t rows : kPromptRows) {
      if (rows > most) break;
      const auto positions = 0.5 * static_cast<double>(rows * rows);
      const double attention_ns = positions * head_values(shape) * costs_.attend_prompt_ns;
      add(rows, watch.prompt(rows) * 1e9 - fixed_ns(1) - attention_ns);
    }
    return layers;
  }

  static double head_values(const ModelShape& s) {
    return static_cast<double>(s.num_layers) * s.num_heads * s.head_dim;
  }

  // A position costs the query heads their arithmetic and the KV heads their bytes: two shapes tell them apart. Both
  // cost more where a model's many layers leave no key or value in a cache until it is used again.
  void measure_attention() {
    const double near_bytes = cached_bytes() / 2, far_bytes = std::max(kLeastCache, 6 * cached_bytes());
    const auto [grouped_near, grouped_far] = position_ns(grouped, near_bytes, far_bytes);
    const auto [lone_near, lone_far] = position_ns(lone, near_bytes, far_bytes);
    const double more_heads = grouped(1).num_heads / grouped(1).num_kv_heads - 1;
    costs_.cached_attend_ns = std::max(0.0, (grouped_near - lone_near) / more_heads);
    costs_.cached_kv_ns = std::max(0.0, lone_near - costs_.cached_attend_ns);
    costs_.attend_ns = std::max(0.0, (grouped_far - lone_far) / more_heads);
    costs_.kv_ns = std::max(0.0, lone_far - costs_.attend_ns);
    measure_prompts();
  }

  // Nanoseconds of a position for one value of a KV head and its query heads, where keys and values are in a cache, and
  // where they are not.
  std::pair<double, double> position_ns(ModelShape (*shape)(int layers), double near_bytes, double far_bytes) {
    const auto slope = [&](int layers, double bytes, int64_t least, int64_t most) {
      const ModelShape s = shape(layers);
      const double values = static_cast<double>(s.num_layers * s.num_kv_heads * s.head_dim) * kAttending;
      const double wanted = bytes / (values * 2 * sizeof(uint16_t)) / world_.size();
      const auto positions =
          static_cast<int64_t>(std::clamp(wanted, static_cast<double>(least), static_cast<double>(most)));
      Stopwatch watch(stopwatch(s, WeightChoice::int8, threads_));
      const double seconds = watch.decode(kAttending, positions) - watch.decode(kAttending, kShort);
      return std::pair(std::max(0.0, seconds) * 1e9 / (values * static_cast<double>(positions - kShort)),
                       bytes * static_cast<double>(positions) / wanted);
    };
    const double near = slope(kFewLayers, near_bytes, kNearest, kNear).first;
    const auto [mixed, held_bytes] = slope(kFarLayers, far_bytes, kFarther, kFar);
    const double read = 1 - cached_bytes() / held_bytes;
    return {near, read > kLeastRead ? near + std::max(0.0, mixed - near) / read : std::max(near, mixed)};
  }

  // Of one long prompt, beside its chunks.
  void measure_prompts() {
    constexpr int64_t kChunks = kLong / kChunk;
    const ModelShape shape = grouped(kFarLayers);
    Stopwatch watch(stopwatch(shape, WeightChoice::int8, threads_));
    const double more = watch.prompt(kLong) - kChunks * watch.prompt(kChunk);
    const double pairs = 0.5 * (static_cast<double>(kLong * kLong) - kChunks * static_cast<double>(kChunk * kChunk));
    costs_.attend_prompt_ns = std::max(0.0, more) * 1e9 / (head_values(shape) * pairs);
  }

  const Options& options_;
  Communicator& world_;
  Log& log_;
  // As a run has them: one a core, whatever hardware threads it has.
  int threads_ = thread_plan(Machine::of({probe_rank(std::nullopt)}), 0, static_cast<int>(options_.threads)).threads;
  StepCosts costs_;
};

// Of ranks with a core each: one while the others wait, as stages of a pipeline do, and in turn with all at work.
LoneGain lone_gain(const Options& options, Communicator& world, Log& log) {
  Communicator self = world.split(world.rank(), 0);
  Stopwatch all(options, world, log, kWide, WeightChoice::int8, 1),
      one(options, self, log, kWide, WeightChoice::int8, 1);
  const double decode = all.decode(1, kShort), prompt = all.prompt(kChunk);
  world.barrier();
  LoneGain gain;
  if (world.rank() == 0) gain = {decode / one.decode(1, kShort), prompt / one.prompt(kChunk)};
  world.barrier();
  return gain;
}

// Sets lone_core and lone_core_prompt by a round's `gain`.
template <typename Gain>
StepCosts measure_rounds(const Options& options, Communicator& world, Log& log, HostCosts& costs, const Gain& gain) {
  std::vector<StepCosts> rounds;
  double decode = 0, prompt = 0;
  for (int i = 0; i < kRounds; i++) {
    log.info("steps of made-up models, round {} of {}", i + 1, kRounds);
    Round round(options, world, log);
    rounds.push_back(round.measure_steps());
    const LoneGain one = gain(round);
    decode += one.decode / kRounds, prompt += one.prompt / kRounds;
  }
  costs.lone_core = std::max(1.0, decode), costs.lone_core_prompt = std::max(1.0, prompt);
  return StepCosts::mean_of(rounds);
}

double read_bytes_per_s() {
  const Unpinned after;
  ThreadPool pool(static_cast<int>(after.cpus.size()), after.cpus);
  return probe_read_gbps(pool) * 1e9;
}

// By one rank that has all cores.
HostCosts measure_host(const Options& options, Communicator& world, Log& log) {
  HostCosts costs{.cached_bytes = cached_bytes(), .reduce_us = 5, .reduce_bytes_per_s = 4e9};
  costs.whole = measure_rounds(options, world, log, costs, [&](Round& round) {
    costs.cores = round.threads();
    costs.read_bytes_per_s = std::max(costs.read_bytes_per_s, read_bytes_per_s());  // a bound: the most
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
  fmt::print("{}\n{:<6}{:>16}", of, "rows", "");
  for (int64_t rows : kDecodeRows) fmt::print("{:>8}", rows);
  for (int64_t rows : kPromptRows) fmt::print("{:>8}", rows);
  fmt::print("   ns a parameter\n");
  for (int p = 0; p < kPrecisions; p++)
    for (const StepCosts::Layers& l : c.layers[p]) {
      fmt::print("{:<6}layers of{:>5.1f} M", precision_name(static_cast<Precision>(p)), l.parameters * 1e-6);
      for (double ns : l.curve.ns_per_parameter) fmt::print("{:>8.4f}", ns);
      fmt::print("\n");
    }
  fmt::print(
      "a step {:.1f} us, a sequence {:.2f} us; attention {:.4f} ns and {:.4f} decoding ({:.4f} and {:.4f} in caches), "
      "{:.4f} in prompts\n",
      c.step_us, c.sequence_us, c.attend_ns, c.kv_ns, c.cached_attend_ns, c.cached_kv_ns, c.attend_prompt_ns);
}

void print_costs(const HostCosts& c, const Options& options) {
  if (options.json) return fmt::print("{}\n", c.to_json().dump());
  fmt::print(
      "{:.0f} cores, reads {:.1f} GB/s; one core alone is {:.2f} times as fast as beside the others, in prompts "
      "{:.2f}; an "
      "exchange {:.1f} us and {:.1f} GB/s\n",
      c.cores, c.read_bytes_per_s * 1e-9, c.lone_core, c.lone_core_prompt, c.reduce_us, c.reduce_bytes_per_s * 1e-9);
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

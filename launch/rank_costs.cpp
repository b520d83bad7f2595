#include "launch/rank_costs.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "base/must.h"
#include "launch/stopwatch.h"
#include "plan/own_memory.h"
#include "topology/host.h"

namespace trireme {

namespace {

// Made-up models, each of which shows one cost. wide and broad: large and small layers, of weights past any cache that
// a few cores have. narrow: layers that are nearly nothing, as many less few. grouped and single: their attention is
// most, with four query heads and with one to a KV head.
ModelShape shape_of(const char* name, int64_t hidden, int64_t intermediate, int layers, int heads, int kv_heads,
                    int head_dim) {
  return {name, "llama", hidden, intermediate, layers, heads, kv_heads,    head_dim, 512,
          4096, 1e4,     0,      1e-5,         true,   false, QkNorm::none};
}
ModelShape wide(int layers) { return shape_of("wide", 2048, 8192, layers, 16, 4, 128); }
ModelShape broad(int layers) { return shape_of("broad", 512, 1536, layers, 8, 2, 64); }
ModelShape narrow(int layers) { return shape_of("narrow", 128, 256, layers, 2, 1, 64); }
constexpr int kNearLayers = 8, kFarLayers = 64;  // of grouped and single
constexpr int kFewLayers = 1, kMoreLayers = 9;   // of narrow, to tell a step from its layers
constexpr int kManyLayers = 40;                  // of narrow, to tell its layers from a step
constexpr double kLeastWeights = 64e6;           // bytes of wide and broad
ModelShape grouped(int layers) { return shape_of("grouped", 128, 256, layers, 8, 2, 64); }
ModelShape single(int layers) { return shape_of("single", 128, 256, layers, 2, 2, 64); }

constexpr int64_t kDecodeRows[] = {1, 2, 4, 8, 16, 64}, kPromptRows = 256;
// Of these for a rank whose neighbours wait: fewer, to save time; 8 stays, where 4-bit products change their loop.
constexpr int64_t kLoneRows[] = {1, 4, 8, 256};
constexpr int64_t kMostFp8Rows = 16;  // CPUs unpack it for a few rows at a time: more take as many times longer
constexpr double kLeastNs = 1e-6;     // of a parameter: noise may leave nothing
constexpr int64_t kChunk = default_step_tokens(false);
constexpr int64_t kShort = 4;    // tokens of a prompt that only begins a sequence
constexpr int64_t kLong = 2048;  // tokens of a long prompt
// Positions that attention is measured over, by so many sequences: near, in few layers, so few that a quarter of the
// caches holds keys and values; far, in many, that these are more than most caches.
constexpr int64_t kAttending = 16, kNearest = 32, kNear = 256, kFarther = 128, kFar = 1024;
constexpr double kLeastCache = 256e6, kLeastRead = 0.3;  // of which so much is read from memory

double layer_parameters(const ModelShape& s) {
  const auto attention = 2.0 * (s.num_heads + s.num_kv_heads) * s.head_dim;
  return (attention + 3.0 * static_cast<double>(s.intermediate_size)) * static_cast<double>(s.hidden_size);
}

// Of as many layers as have so many bytes of weights.
ModelShape of_bytes(double bytes, ModelShape (*shape)(int layers), Precision precision) {
  const double layer_bytes = layer_parameters(shape(1)) * precision_bits(precision) / 8;
  return shape(static_cast<int>(std::ceil(bytes / layer_bytes)));
}

double head_values(const ModelShape& s) { return static_cast<double>(s.num_layers) * s.num_heads * s.head_dim; }

// As a run has them, each rank a replica of its own, with room for all that is measured.
Options session_options(const Options& options) {
  Options o = options;
  o.tp = o.pp = 1;
  o.dp = 0;
  o.max_seqs = std::ranges::max(kDecodeRows);
  o.max_step_tokens = kChunk;
  const auto blocks = [](int64_t sequences, int64_t position) {
    return StepLoad{true, sequences, position, Stopwatch::kMostSteps}.blocks();
  };
  o.kv_blocks = std::max({blocks(o.max_seqs, kShort), blocks(kAttending, kFar), blocks(1, kLong)});
  o.numerics = "standard";
  return o;
}

// Times steps of one made-up model after the other; or gives what was timed before, in the same order.
class Steps {
 public:
  struct Where {
    const Options& options;  // as of a run
    Communicator& world;
    Log& log;
  };
  explicit Steps(const Where& where) : where_(&where) {}
  explicit Steps(const Timings& given) : timings_(given) {}

  void take(const ModelShape& shape, WeightChoice weights = WeightChoice::int8) {
    if (where_) watch_.emplace(where_->options, where_->world, where_->log, shape, weights);
  }
  StepSeconds decode(int64_t rows, int64_t position, bool lone) {
    if (where_) timings_.push_back(watch_->decode(rows, position, lone));
    return next();
  }
  StepSeconds prompt(int64_t tokens, bool lone) {
    if (where_) timings_.push_back(watch_->prompt(tokens, lone));
    return next();
  }
  // All of them, and as many as were asked for.
  const Timings& timings() const {
    must(next_ == timings_.size(), "each timing was asked for");
    return timings_;
  }

 private:
  StepSeconds next() {
    must(next_ < timings_.size(), "as many steps were timed as are asked for");
    return timings_[next_++];
  }

  const Where* where_ = nullptr;  // null: all are given
  std::optional<Stopwatch> watch_;
  Timings timings_;
  size_t next_ = 0;
};

// Tells from steps what their parts take.
class Parts {
 public:
  Parts(Steps& steps, int ranks) : steps_(steps), ranks_(ranks) {
    if (ranks > 1) sides_.push_back({&StepSeconds::lone, {}});
  }

  RankCosts costs() {
    attention();
    prompts();
    fixed();
    const std::pair<Precision, WeightChoice> kinds[] = {{Precision::int8, WeightChoice::int8},
                                                        {Precision::int4, WeightChoice::int4},
                                                        {Precision::bf16, WeightChoice::bf16},
                                                        {Precision::fp8, WeightChoice::fp8}};
    const double past_caches = std::max(kLeastWeights, 4 * cached_bytes_ / ranks_);
    for (auto [precision, weights] : kinds)
      for (const ModelShape& shape :
           {narrow(kManyLayers), of_bytes(past_caches, broad, precision), of_bytes(past_caches, wide, precision)})
        layers(precision, shape, weights);
    return {sides_.front().costs, has_lone() ? sides_.back().costs : StepCosts{}};
  }

 private:
  // Beside the other ranks, or while they wait.
  struct Side {
    double StepSeconds::*seconds;
    StepCosts costs;
  };
  bool has_lone() const { return sides_.size() > 1; }

  // A position costs the query heads their arithmetic and the KV heads their bytes: two shapes tell them apart. Both
  // cost more where a model's many layers leave no key or value in a cache until it is used again.
  void attention() {
    const double near_bytes = cached_bytes_ / 2, far_bytes = std::max(kLeastCache, 6 * cached_bytes_);
    const auto of_shape = [&](ModelShape (*shape)(int layers)) {
      return Attention{attend(shape(kNearLayers), near_bytes, kNearest, kNear),
                       attend(shape(kFarLayers), far_bytes, kFarther, kFar)};
    };
    const Attention of_grouped = of_shape(grouped), of_single = of_shape(single);
    const double more_heads = grouped(1).num_heads / grouped(1).num_kv_heads - 1;
    for (auto& [seconds, costs] : sides_) {
      const double near = of_single.near_ns(seconds), far = of_single.far_ns(seconds);
      costs.cached_attend_ns = std::max(0.0, (of_grouped.near_ns(seconds) - near) / more_heads);
      costs.cached_kv_ns = std::max(0.0, near - costs.cached_attend_ns);
      costs.attend_ns = std::max(0.0, (of_grouped.far_ns(seconds) - far) / more_heads);
      costs.kv_ns = std::max(0.0, far - costs.attend_ns);
    }
  }

  // What positions add to a step.
  struct Attended {
    StepSeconds few, many;  // positions
    double values;          // of KV heads, of as many positions as `many` has more
    double read;            // share of the keys and values that no cache holds
    double ns(double StepSeconds::*seconds) const { return std::max(0.0, many.*seconds - few.*seconds) * 1e9 / values; }
  };
  // Of one shape, for one value of a KV head and its query heads: where keys and values are in a cache, and where they
  // are not. The same share of them is read by a rank whose neighbours wait: these come back to theirs.
  struct Attention {
    Attended near, mixed;
    double near_ns(double StepSeconds::*seconds) const { return near.ns(seconds); }
    double far_ns(double StepSeconds::*seconds) const {
      const double cached = near.ns(seconds), some = mixed.ns(seconds);
      return mixed.read > kLeastRead ? cached + std::max(0.0, some - cached) / mixed.read : std::max(cached, some);
    }
  };

  Attended attend(const ModelShape& s, double bytes, int64_t least, int64_t most) {
    const double values = static_cast<double>(s.num_layers * s.num_kv_heads * s.head_dim) * kAttending;
    const double wanted = bytes / (values * 2 * sizeof(uint16_t)) / ranks_;
    const auto positions =
        static_cast<int64_t>(std::clamp(wanted, static_cast<double>(least), static_cast<double>(most)));
    steps_.take(s);
    const StepSeconds many = steps_.decode(kAttending, positions, has_lone());
    const StepSeconds few = steps_.decode(kAttending, kShort, has_lone());
    return {few, many, values * static_cast<double>(positions - kShort),
            1 - cached_bytes_ / (bytes * static_cast<double>(positions) / wanted)};
  }

  // Of one long prompt, beside its chunks.
  void prompts() {
    constexpr int64_t kChunks = kLong / kChunk;
    const ModelShape shape = grouped(kNearLayers);
    steps_.take(shape);
    const StepSeconds all = steps_.prompt(kLong, has_lone()), chunk = steps_.prompt(kChunk, has_lone());
    const double pairs = 0.5 * (static_cast<double>(kLong * kLong) - kChunks * static_cast<double>(kChunk * kChunk));
    for (auto& [seconds, costs] : sides_) {
      const double more = all.*seconds - kChunks * chunk.*seconds;
      costs.attend_prompt_ns = std::max(0.0, more) * 1e9 / (head_values(shape) * pairs);
    }
  }

  // Of a step beside its layers, of few rows and of many.
  void fixed() {
    constexpr int64_t kRows = std::ranges::max(kDecodeRows);
    const auto steps = [&](int layers) {
      steps_.take(narrow(layers));
      const StepSeconds one = steps_.decode(1, kShort, has_lone()), all = steps_.decode(kRows, kShort, has_lone());
      return std::pair(one, all);
    };
    const auto few = steps(kFewLayers), many = steps(kMoreLayers);
    constexpr double kPart = double{kFewLayers} / (kMoreLayers - kFewLayers);
    for (auto& [seconds, costs] : sides_) {
      const auto without_layers_us = [&](const StepSeconds& a, const StepSeconds& b) {
        return (a.*seconds - kPart * (b.*seconds - a.*seconds)) * 1e6;
      };
      const double one = without_layers_us(few.first, many.first), all = without_layers_us(few.second, many.second);
      costs.sequence_us = std::max(0.0, (all - one) / (kRows - 1));
      costs.step_us = std::max(0.0, one - costs.sequence_us);
    }
  }

  // What is left of steps: layers. The few positions that decoding rows see count as theirs.
  void layers(Precision precision, const ModelShape& shape, WeightChoice weights) {
    const int64_t most = weights == WeightChoice::fp8 ? kMostFp8Rows : kPromptRows;
    steps_.take(shape, weights);
    const auto measured_lone = [&](int64_t rows) { return has_lone() && std::ranges::count(kLoneRows, rows) > 0; };
    for (Side& side : sides_)
      side.costs.layers[static_cast<size_t>(precision)].push_back({.parameters = layer_parameters(shape), .curve = {}});
    // Less so much of a step as is not its layers'.
    const auto add = [&](int64_t rows, const StepSeconds& step, double sequences, double attended_values) {
      for (auto& [seconds, costs] : sides_) {
        if (step.*seconds <= 0) continue;  // not measured
        StepCosts::Layers& measured = costs.layers[static_cast<size_t>(precision)].back();
        const double fixed_ns = (costs.step_us + sequences * costs.sequence_us) * 1e3;
        const double ns = step.*seconds * 1e9 - fixed_ns - attended_values * costs.attend_prompt_ns;
        measured.curve.rows.push_back(static_cast<double>(rows));
        measured.curve.ns_per_parameter.push_back(std::max(ns / shape.num_layers / measured.parameters, kLeastNs));
      }
    };
    for (int64_t rows : kDecodeRows)
      if (rows <= most) add(rows, steps_.decode(rows, kShort, measured_lone(rows)), static_cast<double>(rows), 0);
    if (kPromptRows <= most)
      add(kPromptRows, steps_.prompt(kPromptRows, measured_lone(kPromptRows)), 1,
          0.5 * static_cast<double>(kPromptRows * kPromptRows) * head_values(shape));
  }

  Steps& steps_;
  int ranks_;
  double cached_bytes_ = cached_bytes();
  std::vector<Side> sides_{{&StepSeconds::beside, {}}};
};

}  // namespace

Timings time_steps(const Options& options, Communicator& world, Log& log) {
  const Options of_session = session_options(options);
  const Steps::Where where{of_session, world, log};
  Steps steps(where);
  Parts(steps, world.size()).costs();
  return steps.timings();
}

RankCosts rank_costs_of(const Timings& timings, int ranks) {
  Steps steps(timings);
  return Parts(steps, ranks).costs();
}

// A half of the last caches: the weights pass through them between two uses of a key.
double cached_bytes() {
  const Host host = probe_host();
  return static_cast<double>(host.l3_bytes) * host.l3_caches / 2;
}

}  // namespace trireme

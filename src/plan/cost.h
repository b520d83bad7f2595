#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "plan/bound.h"
#include "plan/engine_profile.h"
#include "plan/model_work.h"
#include "topology/cluster.h"

namespace trireme {

// Where the time of a step, or of a prefill, goes: milliseconds over all stages of a pipeline.
struct StepCost {
  double weights_ms = 0;                // reading weights
  double arithmetic_ms = 0;             // multiplying by them
  double products_ms = 0;               // both, as far as they overlap
  double cache_ms = 0;                  // reading keys and values; in prefill the arithmetic of attention
  double layers_ms = 0;                 // launches and gaps
  double reduce_ms = 0;                 // all-reduces
  double hops_ms = 0;                   // between stages
  double fixed_ms = 0;                  // scheduling, sampling, the running sequences
  double bound_ms = 0;                  // what it cannot beat
  double total_ms() const;              // never below the bound
  StepCost times(double factor) const;  // all but what is fixed
  void add(const StepCost& other);      // all but what is fixed
};

// What a stream of requests asks, per replica.
struct Workload {
  double input_tokens = 0, output_tokens = 0;
  double position = 0;   // of the sequences while they decode, a mean
  double sequences = 0;  // in flight, or that want to be
  double capacity = 0;   // that the cache holds
};

struct Performance {
  double running = 0;       // sequences
  double decode_ms = 0;     // per token of a sequence, prefills of others included
  double ttft_ms = 0;       // from a request's arrival, queueing included
  double queue_ms = 0;      // of it, until a place is free; infinite where requests come faster than they are answered
  double tokens_per_s = 0;  // of output, of one replica
  double prompt_ms = 0;     // that a prompt keeps a stage busy, in a step that is full of prompts
  StepCost step, prefill;

  bool keeps_up() const { return queue_ms < HUGE_VAL; }
};

// A replica of `tp` x `pp` devices under an engine's profile. Keeps references: they outlive it.
//   products = (weights^p + arithmetic^p)^(1/p); pass = products + cache + layers + all-reduces + hops, of all stages
//   pace     = max(slowest stage, pass / stages * waits)                     of a full pipeline, from piece to piece
//   step     = max(pass, micro-batches * pace) / gain + fixed
//   prefill  = (pass + (pieces - 1) * pace) / gain + fixed
//   decode   = step + (running - 1) / output * interference * busy           (every other sequence's prefill, once;
//              of a step no more than a chunk of them: the rest is waited for before the first token)
//   TTFT     = request + prefill + (running - 1) / running * step + clump * (running - 1) * busy + queue
//              and no less than running * busy - (output - 1) * decode: every prompt is computed once
// waits: of stages that are alike for each other, 1 + bubble * (stages - 1) / stages; where one is slower than the
// others, their slack hides it. gain: of calibrated cores whose neighbours wait, over the same step beside others at
// work. busy: that a prompt keeps a stage in steps full of prompts, for its weights are read and its kernels launched
// anyway.
class CostModel {
 public:
  // stages: model.stages(tp, pp).
  CostModel(const ModelWork& model, std::vector<StageWork> stages, const Cluster& cluster, const EngineProfile& profile,
            int tp, int pp);

  const std::vector<StageWork>& stages() const { return stages_; }
  // A pipeline has as many micro-batches in flight as stages, if there are as many sequences.
  StepCost decode_step(double sequences, double position) const;
  StepCost prefill(double tokens, double sequences = 1) const { return prompts(tokens, sequences).cost; }
  Performance steady(const Workload& load) const;
  // With `rate` requests a second that come at random (Poisson) and all take as long: by Little's law as many run as
  // come while one is served, and each waits for one of `capacity` places by Sakasegawa's formula for a queue of so
  // many servers (1977; halved, for services of one length). A queue that only grows: infinite. tokens_per_s: the
  // most that are made. load.sequences: not asked.
  Performance at_rate(Workload load, double rate) const;

 private:
  // Of rows that go through all stages.
  struct Pass {
    StepCost cost;
    double slowest_ms = 0;  // stage
    double lone_gain = 1;   // how many times as fast they go while ranks wait that have nothing to do
  };
  struct Prompts {
    StepCost cost;
    double busy_ms = 0;  // of the slowest stage
  };

  using Measured = std::optional<StepCosts>;  // of a rank of this layout, where the profile is calibrated

  template <typename AttentionMs>
  Pass pass(double rows, double head_rows, const AttentionMs& attention_ms) const;
  template <typename AttentionMs>
  Pass pass_by(const Measured& costs, double rows, double head_rows, const AttentionMs& attention_ms) const;
  Prompts prompts(double tokens, double sequences) const;
  double read_rate(double share) const;
  void add_products(StepCost& cost, const Measured& costs, const StageWork& stage, double rows, double head_rows) const;
  void add_measured_products(StepCost& cost, const StepCosts& costs, const StageWork& stage, double rows,
                             double head_rows) const;
  double decode_attention_ms(const Measured& costs, const StageWork& stage, double rows, double position) const;
  double prompt_attention_ms(const Measured& costs, const StageWork& stage, double rows, double tokens) const;
  double reduce_ms(double bytes) const;
  double hop_ms(double bytes) const;
  double fixed_ms(double sequences) const;
  double waiting_share() const;
  double pace_ms(const Pass& p) const;
  double pipelined(double whole_ms, double once_ms, double pieces, double lone_gain) const;

  const ModelWork& model_;
  std::vector<StageWork> stages_;
  const Cluster& cluster_;
  const EngineProfile& profile_;
  Measured measured_;  // beside the other ranks of the host
  Measured lone_;      // while they wait, as stages of a pipeline may
  int tp_, pp_;
};

}  // namespace trireme

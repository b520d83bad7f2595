#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/pace.h"
#include "launch/options.h"
#include "plan/layouts.h"
#include "topology/machine.h"

namespace trireme {

// What a run is to compute, as far as anybody knows before it begins.
struct Demand {
  double documents = 0;                             // 0: nobody knows
  double input_tokens = 1024, output_tokens = 256;  // of a document, means
};

// What the planner says of one run on the machine that it has: which layout is the fastest, and what its steps take.
// Rank 0's, whose calibration it is made of where there is one.
class Forecast {
 public:
  // Nothing where the planner knows nothing of these GPUs. `remark` says that, or why a calibration does not count;
  // else it stays "". source outlives it.
  static std::optional<Forecast> make(const WeightSource& source, const ModelConfig& config, const Machine& machine,
                                      const Options& options, const Demand& demand, std::string& remark);

  // The place among `choices` of the one with the most tokens a second; and why, in one line.
  size_t choose(std::span<const Degrees> choices, std::string& why) const;

  // Milliseconds of such steps in this layout: a mean of those that were measured.
  double decode_ms(const Degrees& degrees, const Pace::Phase& measured) const;
  double prefill_ms(const Degrees& degrees, const Pace::Phase& measured) const;

  // Whether it is more than a guess: of calibrated CPUs; not of GPUs, nor of `exact`, which nobody calibrates.
  bool measured() const { return guess_.empty(); }

 private:
  // guess: why it is one, as choose() says it behind "a guess"; "": it is none.
  Forecast(const WeightSource& source, const ModelConfig& config, Cluster cluster, EngineProfile profile,
           PlanRequest request, std::string guess);

  CostModel cost_of(const Degrees& degrees) const;

  std::unique_ptr<ModelWork> model_;
  Cluster cluster_;
  EngineProfile profile_;
  PlanRequest request_;
  std::string guess_;
  std::vector<int> stage_split_;  // as given by hand, else empty
};

}  // namespace trireme

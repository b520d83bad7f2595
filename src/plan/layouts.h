#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/cost.h"
#include "plan/memory.h"
#include "topology/placement.h"

namespace trireme {

enum class Objective : uint8_t { latency, throughput, cost };
Objective get_objective(std::string_view name);  // throws Error(usage)

// What is asked of a machine. 0: not asked.
struct PlanRequest {
  Degrees degrees;
  double input_tokens = 0, output_tokens = 0;  // of a request
  double context = 0;                          // positions that a sequence may come to need
  double position = 0;                         // where sequences stand while they decode, a mean
  double batch = 0;                            // sequences in flight on a replica; 0: as many as the objective likes
  double rate = 0;                             // requests a second, of all replicas together
  double documents = 0;                        // that there are: no replica has more in flight than its part of them
  Objective objective = Objective::throughput;
  double slo_ttft_ms = 0, slo_tpot_ms = 0;
  double gpu_hour = 0;  // price of one device for an hour; of a host where ranks divide its CPUs

  bool has_promises() const { return slo_ttft_ms > 0 || slo_tpot_ms > 0; }
};

// One layout, and what it will do.
struct LayoutPlan : Degrees {
  MemoryPlan memory;
  double max_sequences = 0;  // of `context` positions, that the cache of a replica holds
  double wanted = 0;         // sequences in flight on a replica
  bool fits = false;         // weights, and the sequences asked for
  bool meets_slo = true;
  Performance performance;  // with the sequences that fit; where weights do not, as if all that are wanted did
  double tokens_per_s = 0;  // of output, of all replicas; 0 where not one sequence fits
  double bound_decode_ms = 0, bound_ttft_ms = 0;
  double cost_per_million = 0;  // output tokens; device hours where no price was given
  double expected_error = 0;    // of the figure that the objective asks for; 0: nobody knows
  std::string limiting_factor;  // one of a few words
  std::string reason;           // why it was chosen, or was not, with figures

  int devices() const { return static_cast<int>(ranks()); }
  bool acceptable() const { return fits && meets_slo; }
};

// What the objective asks for; more is better.
double merit(const LayoutPlan& layout, Objective objective);

struct Plan {
  std::vector<LayoutPlan> layouts;  // the best first, then by what was asked for
  int choice = -1;                  // -1: nothing fits
};

// All layouts that the machine allows (or those asked for), what each does, which to take and why not the others.
// Where ranks divide a host's CPUs, of any number of them that divides its cores; those asked for also of others, one
// alone even where it leaves cores idle. Never none: throws Error(configuration) when the layout asked for cannot be,
// with the arithmetic.
Plan plan_layouts(const ModelWork& model, const Cluster& cluster, const EngineProfile& profile,
                  const PlanRequest& request);

// The same of these layouts alone, each of all devices of the cluster.
Plan plan_layouts(const ModelWork& model, const Cluster& cluster, const EngineProfile& profile,
                  const PlanRequest& request, std::span<const Degrees> choices);

}  // namespace trireme

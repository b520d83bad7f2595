#pragma once

#include <span>
#include <string>
#include <vector>

#include "plan/cost.h"
#include "plan/memory.h"
#include "plan/question.h"

namespace trireme {

// One layout, and what it will do.
struct LayoutPlan : Degrees {
  MemoryPlan memory;
  double max_sequences = 0;  // of `context` positions, that the cache of a replica holds
  double wanted = 0;         // sequences in flight on a replica
  bool fits = false;         // weights, and the sequences asked for
  bool meets_slo = true;
  LinkClass link = LinkClass::device;  // the slowest of its TP groups; of fast ones any
  bool by_hand_only = false;           // a TP that nobody asked for, of groups that a run's auto layout does not make
  Performance performance;  // with the sequences that fit; where weights do not, as if all that are wanted did
  double tokens_per_s = 0;  // of output, of all replicas; 0 where not one sequence fits
  double bound_decode_ms = 0, bound_ttft_ms = 0;
  double cost_per_million = 0;  // output tokens; device hours where no price was given
  double expected_error = 0;    // of the figure that the objective asks for; 0: nobody knows
  std::string limiting_factor;  // one of a few words
  std::string reason;           // why it was chosen, or was not, with figures

  int devices() const { return static_cast<int>(ranks()); }
  bool answers() const { return fits && meets_slo; }
  bool acceptable() const { return answers() && !by_hand_only; }
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
Plan plan_layouts(const PlanQuestion& question);

// The same of these layouts alone, each of all devices of the cluster, and one that a run may take.
Plan plan_layouts(const PlanQuestion& question, std::span<const Degrees> choices);

}  // namespace trireme

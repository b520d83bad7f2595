#pragma once

#include <optional>
#include <vector>

#include "base/log.h"
#include "base/thread_pool.h"
#include "comm/communicator.h"
#include "engine/engine.h"
#include "launch/measure_steps.h"
#include "launch/options.h"
#include "launch/session.h"
#include "launch/timings.h"
#include "model/import.h"
#include "model/shapes.h"

namespace trireme {

// A team pins the thread that makes it, which has its CPUs back after that.
struct Unpinned {
  std::vector<int> cpus = allowed_cpus();
  ~Unpinned() { stay_on(cpus); }
};

// Times steps of a made-up model. Where there are several ranks, each has a replica of its own.
class Stopwatch {
 public:
  static constexpr int64_t kMostSteps = 16;  // of a sample; more would change the position

  // options: as of a run. Collective over `world`, as all that follows.
  Stopwatch(const Options& options, Communicator& world, Log& log, const ModelShape& shape, WeightChoice weights);

  // Of so many sequences that have read `position` tokens each.
  StepSeconds decode(int64_t rows, int64_t position, bool lone);
  // Of a prompt in all its steps.
  StepSeconds prompt(int64_t tokens, bool lone);

 private:
  StepSeconds seconds(const StepLoad& load, int64_t tokens, bool lone);
  double median_rate(const StepLoad& load);

  Unpinned after_;
  Session session_;
  std::optional<Engine> engine_;
};

}  // namespace trireme

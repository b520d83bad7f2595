#pragma once

#include <optional>
#include <string>

#include "base/log.h"
#include "engine/engine.h"
#include "job/corpus.h"
#include "job/ledger.h"
#include "job/progress.h"
#include "job/result_store.h"
#include "job/run_folder.h"
#include "job/status.h"
#include "launch/environment.h"
#include "launch/fault.h"
#include "launch/options.h"
#include "launch/session.h"
#include "topology/gpu_monitor.h"

namespace trireme {

// Rank 0's side of a job: the input, the run folder, the results and what people see of it.
class Job {
 public:
  // Takes the run folder; what fails from then on stands in its status.json.
  Job(const Options& options, const Environment& environment, Log& log);
  void survey();  // counts the input's rows

  Demand demand() const;
  // Returns the exit code of a run that is complete already, or -1.
  int begin(const Session& session);

  Ledger& ledger() { return *ledger_; }
  double seconds() const;               // since it was made
  int64_t day() const { return day_; }  // that the chat template is told, as one number; 0: it does not ask

  // Where the run stands, for people and for status.json; cheap to call every step. positions: of all replicas; gpu:
  // this rank's.
  void show(const Engine& engine, int64_t positions, const GpuMonitor& gpu);
  // After the last row: the output, the summary, the exit code. ranks: what each of them says of itself.
  int finish(const PhaseSeconds& phases, const StepSpeeds& speeds, const nlohmann::ordered_json& ranks);
  // Says so in status.json; a second fault on the way is logged, and never hides the first. Before begin() the folder
  // may hold another run, whose status stays.
  void failed(const Fault& fault);

 private:
  ExitCode code_of(uint64_t errors) const;
  Tally tally_so_far() const;
  void end(const Status& status);
  int64_t day_of_prompts(const Session& session) const;
  Manifest manifest(const Session& session) const;

  const Options& options_;
  const Environment& environment_;
  Log& log_;
  RunFolder folder_;
  std::string input_;
  InputSummary summary_;
  int64_t day_ = 0;
  int64_t positions_ = 0;  // run through the model so far, by all replicas
  std::optional<ResultStore> store_;
  std::optional<Ledger> ledger_;
  Progress progress_ = Progress::to_stderr(log_);
  double start_;  // by a clock that never jumps
};

// A day as one number, so that rank 0 can tell it to all, in words: 20261127 is "2026-11-27", and 0 is none, "".
std::string date_of(int64_t day);

}  // namespace trireme

#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "base/log.h"

namespace trireme {

// What a job has done so far. Every row counts, error rows too.
struct Tally {
  uint64_t rows_total = 0;
  uint64_t rows_done = 0;
  uint64_t rows_failed = 0;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t positions = 0;      // run through the model so far, of unfinished documents too; 0 when nobody counts
  uint64_t rows_started = 0;  // handed to a replica, or done
};

// Where the time of a run went, in seconds; measured by the caller.
struct PhaseSeconds {
  double total = 0, prefill = 0, decode = 0, communication = 0, waiting = 0;
};

// What steps took, beside what the planner says of such steps; of replica 0. 0: there were none, or nobody planned.
struct StepSpeeds {
  double decode_ms = 0, planned_decode_ms = 0;        // of a sequence, from one token to the next
  double sequences = 0, position = 0;                 // then in flight, and where they stood: means
  double prefill_rate = 0, planned_prefill_rate = 0;  // tokens/s of steps with prompts
  bool guessed = false;                               // planned of a machine, or of work, that nobody measured
};

// Progress on stderr: one line that is redrawn on a terminal; elsewhere a line of the log per interval and per tenth.
class Progress {
 public:
  using Write = std::function<void(std::string_view)>;
  // write: gets what a terminal shows, or whole lines.
  Progress(Write write, bool terminal, double interval_seconds = 30);
  static Progress to_stderr(Log& log, double interval_seconds = 30);

  // seconds: since the job began, on a clock that never jumps. Cheap to call every step.
  void update(const Tally& tally, double seconds);
  // Clears a drawn line, so that a log line can be written.
  void clear();
  void finish(const std::string& summary);

 private:
  bool due(const Tally& tally, double seconds);

  Write write_;
  bool terminal_;
  double interval_seconds_;
  double last_seconds_ = -1;  // of the last line; -1: none yet
  uint64_t last_tenth_ = 0;
  bool drawn_ = false;
};

// "12/200 documents (6 %), 1 error, 51200 tokens, 812 tok/s, 3 min left": the same for line, bar and status.
std::string progress_text(const Tally& tally, double seconds);
// Several lines: documents, errors, tokens in and out, tok/s, where the seconds went, and what steps took.
std::string summary_text(const Tally& tally, const PhaseSeconds& seconds, const StepSpeeds& speeds = {});

// Prompt tokens and generated ones so far, of unfinished documents too.
int64_t tokens_so_far(const Tally& tally);
double tokens_per_second(const Tally& tally, double seconds);  // 0 before the job has begun
// Until the job's end at the pace so far, if documents have as many tokens as the finished ones, or as the begun ones
// have by now (short ones are the first to finish); -1 while none is finished.
double seconds_left(const Tally& tally, double seconds);
std::string utc_time(int64_t unix_seconds);  // "2026-11-23T21:40:18Z"

}  // namespace trireme

#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/must.h"

namespace trireme {

// What the process returns, and what status.json records: scripts depend on these (docs/operations.md).
enum class ExitCode : int {
  done = 0,
  usage = 64,
  bad_data = 65,  // a model or data file is damaged or unsupported
  no_input = 66,
  rank_lost = 69,
  internal = 70,
  stuck = 71,  // a deadline passed in a step
  out_of_memory = 72,
  cannot_create = 73,
  io_error = 74,
  drained = 75,        // stopped on request; run again to go on
  row_errors = 76,     // finished, but some rows are errors
  configuration = 78,  // launch, layout or options do not fit
};

// A fault of the user, a file or the machine. The text says what failed, where, what was seen and expected, and one
// thing to try; the function that first understands a fault words it, all others pass it on. Only main() catches.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& text) : std::runtime_error(text), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(code, fmt::format(text, std::forward<Args>(args)...));
}

// " (errno text)" of the current errno, for messages about files.
std::string errno_text();

}  // namespace trireme

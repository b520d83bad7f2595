#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace trireme {

void must(bool condition, std::string_view what, std::source_location where) {
  if (condition) return;
  fail(ExitCode::internal, "internal error: {} does not hold ({}:{}); please report it with the command line", what,
       where.file_name(), where.line());
}

std::string errno_text() { return std::strerror(errno); }

}  // namespace trireme

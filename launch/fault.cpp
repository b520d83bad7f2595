#include "launch/fault.h"

#include <cstdio>
#include <exception>
#include <new>

namespace trireme {

Fault Fault::current() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::out_of_memory, "out of memory; use fewer ranks on this host or a smaller --kv-gib"};
  } catch (const std::exception& error) {
    if (std::ferror(stdout))  // fmt throws what says so
      return {ExitCode::io_error, fmt::format("cannot write to the standard output ({})", error.what())};
    return {ExitCode::internal,
            fmt::format("internal error: {}; please report it with the command line", error.what())};
  }
}

}  // namespace trireme

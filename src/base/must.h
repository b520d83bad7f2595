#pragma once

#include <source_location>
#include <string_view>

namespace trireme {

// A broken invariant of our own: a bug, never the user's fault. Throws Error(internal) with the place (base/error.h,
// which nvcc's compiler does not take).
void must(bool condition, std::string_view what, std::source_location where = std::source_location::current());

}  // namespace trireme

#pragma once

#include <ctime>

namespace trireme::testkit {

// CPU seconds of this thread. Against work that grows with the square of a file, not for speed: bounds are many times
// what a loaded machine or a sanitizer needs.
inline double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

inline constexpr double kNotQuadratic = 20;

}  // namespace trireme::testkit

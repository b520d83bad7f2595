#pragma once

#include <chrono>
#include <cstddef>

namespace trireme {

// What one render may cost. Tests pass smaller ones.
struct TemplateLimits {
  size_t steps = 10'000'000;             // an expression, a statement, a loop turn, an item, 32 bytes of text
  std::chrono::milliseconds time{2000};  // that this thread computes: a busy machine changes nothing
  size_t output_bytes = 16 << 20;
  int depth = 1000;  // expressions, statements and macros inside each other
};

}  // namespace trireme

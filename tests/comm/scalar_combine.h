#pragma once

#include <vector>

#include "kernels/kernels.h"

namespace trireme::testing {

// TreeCombine word for word, one element after the other: what the real kernels must equal.
inline void scalar_tree_combine(const Launch& launch, const TreeCombine& c) {
  for (int64_t row = launch.part; row < c.out.rows; row += launch.parts) {
    for (int64_t column = 0; column < c.out.columns; column++) {
      std::vector<float> stack;
      for (size_t i = 0; i < c.nodes.size(); i++) {
        stack.push_back(c.nodes[i][row * c.stride + column]);
        for (int pops = c.program->pops[i]; pops > 0; pops--) {
          float right = stack.back();
          stack.pop_back();
          stack.back() = stack.back() + right;
        }
      }
      float& out = c.out.row(row)[column];
      out = c.accumulate ? out + stack.back() : stack.back();
    }
  }
}

}  // namespace trireme::testing

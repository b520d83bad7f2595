#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"

namespace trireme {

inline constexpr int kMaxExperts = 1024;  // that the vector levels take; more go to the reference

// The leaves of one row of ExpertCombine that are not zero, with the tree that is left over them. A zero only turns a
// sum of -0 into +0: it is enough to add one to each root that has any, at the end.
struct ExpertLeaves {
  struct Sum {
    int first = 0, count = 0;  // leaves in it
    bool has_zero = false;
  };
  const float* y[kMaxExperts];  // at `column` of the row's results
  float weights[kMaxExperts];
  int pops[kMaxExperts];  // sums to be joined after each leaf
  Sum stack[64];          // in the end: the roots

  void collect(const ExpertCombine& a, int64_t row, int64_t column) {
    const int held = a.held.size();
    int64_t choice[kMaxExperts];
    std::fill_n(choice, held, -1);
    for (int64_t i = row * a.top_k; i < (row + 1) * a.top_k; i++)
      if (a.place_of[static_cast<size_t>(i)] >= 0) choice[a.experts[static_cast<size_t>(i)] - a.held.begin] = i;
    int count = 0, depth = 0;
    for (int expert = 0; expert < held; expert++) {
      const auto at = static_cast<size_t>(choice[expert]);
      const bool zero = choice[expert] < 0;
      stack[depth++] = {count, zero ? 0 : 1, zero};
      if (!zero) {
        y[count] = a.y.row(a.place_of[at]) + column;
        weights[count] = a.weights[at];
        pops[count++] = 0;
      }
      for (int joins = a.program->pops[static_cast<size_t>(expert)]; joins > 0; joins--) {
        const Sum right = stack[--depth];
        Sum& left = stack[depth - 1];
        if (left.count > 0 && right.count > 0) pops[count - 1]++;
        left.count += right.count;
        left.has_zero = left.has_zero || right.has_zero;
      }
    }
  }
};

}  // namespace trireme

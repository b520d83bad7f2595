#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme {

// The reduction tree over the units of a contraction (docs/concepts.md): the range [a, b) splits at a + ceil((b - a) /
// 2), recursively. Sums are always added along this tree, left operand first, whoever holds the units.

struct UnitRange {
  int begin = 0, end = 0;
  int size() const { return end - begin; }
  bool operator==(const UnitRange&) const = default;
};

// The fewest nodes of the tree over [0, units) that make up `range`, in order: what a holder of `range` contributes.
std::vector<UnitRange> maximal_nodes(int units, UnitRange range);

// The tree as a stack program: take the nodes in order; after node i, pops[i] times replace the two topmost sums
// (left, right) by left + right. `roots` sums are left in the end, in the order of maximal_nodes().
struct TreeProgram {
  std::vector<int> pops;
  int roots = 0;
};

// nodes: consecutive nodes of the tree over [0, units), in order; single units, or other holders' maximal nodes.
TreeProgram tree_program(int units, std::span<const UnitRange> nodes);

// A row-parallel product on a rank: the units it holds, their columns, and how their sums are added.
struct Contraction {
  std::vector<int> columns;  // [units held] columns of each unit, all but the dataset's last one equal
  TreeProgram program;       // over the single units held
  int max_depth = 0;         // sums that stand on the stack at most
  int64_t total_columns = 0;
};
Contraction contraction(int64_t columns, int64_t unit_columns, UnitRange range);
inline Contraction contraction(int64_t columns, int64_t unit_columns) {
  return contraction(columns, unit_columns, {0, static_cast<int>((columns + unit_columns - 1) / unit_columns)});
}

}  // namespace trireme

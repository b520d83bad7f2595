#include "kernels/unit_tree.h"

#include <algorithm>

namespace trireme {

namespace {

void collect(UnitRange node, UnitRange range, std::vector<UnitRange>& out) {
  if (node.end <= range.begin || range.end <= node.begin) return;
  if (range.begin <= node.begin && node.end <= range.end) {
    out.push_back(node);
    return;
  }
  int middle = node.begin + (node.size() + 1) / 2;
  collect({node.begin, middle}, range, out);
  collect({middle, node.end}, range, out);
}

// The node whose children are exactly `left` and `right`, if there is one.
bool siblings(int units, UnitRange left, UnitRange right) {
  UnitRange node{0, units};
  while (node.size() > 1) {
    int middle = node.begin + (node.size() + 1) / 2;
    if (left == UnitRange{node.begin, middle}) return right == UnitRange{middle, node.end};
    node = left.begin < middle ? UnitRange{node.begin, middle} : UnitRange{middle, node.end};
  }
  return false;
}

}  // namespace

std::vector<UnitRange> maximal_nodes(int units, UnitRange range) {
  std::vector<UnitRange> nodes;
  collect({0, units}, range, nodes);
  return nodes;
}

TreeProgram tree_program(int units, std::span<const UnitRange> nodes) {
  TreeProgram program;
  std::vector<UnitRange> stack;
  for (UnitRange node : nodes) {
    int pops = 0;
    stack.push_back(node);
    while (stack.size() >= 2 && siblings(units, stack[stack.size() - 2], stack.back())) {
      int end = stack.back().end;
      stack.pop_back();
      stack.back().end = end;
      pops++;
    }
    program.pops.push_back(pops);
  }
  program.roots = static_cast<int>(stack.size());
  return program;
}

Contraction contraction(int64_t columns, int64_t unit_columns, UnitRange range) {
  Contraction result;
  int units = static_cast<int>((columns + unit_columns - 1) / unit_columns);
  std::vector<UnitRange> leaves;
  for (int u = range.begin; u < range.end; u++) {
    leaves.push_back({u, u + 1});
    result.columns.push_back(static_cast<int>(std::min(unit_columns, columns - u * unit_columns)));
    result.total_columns += result.columns.back();
  }
  result.program = tree_program(units, leaves);
  for (int depth = 0; int pops : result.program.pops) {
    result.max_depth = std::max(result.max_depth, ++depth);
    depth -= pops;
  }
  return result;
}

}  // namespace trireme

#include "kernels/unit_tree.h"

#include <doctest/doctest.h>

#include "fixture.h"

namespace trireme::testing {

namespace {

float tree_sum(const std::vector<float>& x, int a, int b) {
  if (b - a == 1) return x[static_cast<size_t>(a)];
  int middle = a + (b - a + 1) / 2;
  return tree_sum(x, a, middle) + tree_sum(x, middle, b);
}

std::vector<float> run(const TreeProgram& program, const std::vector<float>& nodes) {
  std::vector<float> stack;
  for (size_t i = 0; i < nodes.size(); i++) {
    stack.push_back(nodes[i]);
    for (int pops = program.pops[i]; pops > 0; pops--) {
      float right = stack.back();
      stack.pop_back();
      stack.back() = stack.back() + right;
    }
  }
  return stack;
}

std::vector<UnitRange> singles(UnitRange range) {
  std::vector<UnitRange> units;
  for (int u = range.begin; u < range.end; u++) units.push_back({u, u + 1});
  return units;
}

}  // namespace

TEST_CASE("a range splits at a + ceil((b - a) / 2)") {
  CHECK(maximal_nodes(9, {0, 5}) == std::vector<UnitRange>{{0, 5}});
  CHECK(maximal_nodes(9, {5, 9}) == std::vector<UnitRange>{{5, 9}});
  CHECK(maximal_nodes(9, {0, 4}) == std::vector<UnitRange>{{0, 3}, {3, 4}});
  CHECK(maximal_nodes(8, {0, 8}) == std::vector<UnitRange>{{0, 8}});
  CHECK(maximal_nodes(8, {1, 7}) == std::vector<UnitRange>{{1, 2}, {2, 4}, {4, 6}, {6, 7}});
  CHECK(maximal_nodes(8, {3, 3}).empty());
}

TEST_CASE("the program of all units adds them along the tree and leaves one root") {
  CHECK(tree_program(3, singles({0, 3})).pops == std::vector<int>{0, 1, 1});
  CHECK(tree_program(5, singles({0, 5})).pops == std::vector<int>{0, 1, 1, 0, 2});
  Source source(1);
  for (int units = 1; units <= 70; units++) {
    std::vector<float> x = source.values(static_cast<size_t>(units));
    CHECK(run(tree_program(units, singles({0, units})), x) == std::vector<float>{tree_sum(x, 0, units)});
  }
}

TEST_CASE("any cut, combined, is the whole") {
  Source source(2);
  for (int round = 0; round < 400; round++) {
    int units = 1 + source.below(40), holders = 1 + source.below(5);
    std::vector<float> x = source.values(static_cast<size_t>(units)), sums;
    std::vector<UnitRange> nodes;
    for (int begin = 0, i = 0; i < holders; i++) {
      int end = i + 1 == holders ? units : begin + source.below(units - begin + 1);
      TreeProgram program = tree_program(units, singles({begin, end}));
      std::vector<UnitRange> held = maximal_nodes(units, {begin, end});
      CHECK(program.roots == static_cast<int>(held.size()));
      std::vector<float> roots = run(program, {x.begin() + begin, x.begin() + end});
      for (size_t r = 0; r < held.size(); r++) CHECK(roots[r] == tree_sum(x, held[r].begin, held[r].end));
      nodes.insert(nodes.end(), held.begin(), held.end());
      sums.insert(sums.end(), roots.begin(), roots.end());
      begin = end;
    }
    TreeProgram program = tree_program(units, nodes);
    CHECK(program.roots == 1);
    CHECK(run(program, sums) == std::vector<float>{tree_sum(x, 0, units)});
  }
}

TEST_CASE("a contraction has the units' columns, the last one shorter, and its stack's depth") {
  Contraction whole = contraction(100, 32);
  CHECK(whole.columns == std::vector<int>{32, 32, 32, 4});
  CHECK(whole.total_columns == 100);
  CHECK(whole.max_depth == 3);
  Contraction part = contraction(100, 32, {1, 4});
  CHECK(part.columns == std::vector<int>{32, 32, 4});
  CHECK(part.program.roots == 2);
}

}  // namespace trireme::testing

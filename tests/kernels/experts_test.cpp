#include <algorithm>

#include "check_levels.h"

namespace trireme::testing {

namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};
Routed route(const std::vector<float>& logits, int64_t rows, int top_k, bool normalize, std::string_view level,
             int parts = 1) {
  Routed out{std::vector<int32_t>(static_cast<size_t>(rows * top_k), -1),
             std::vector<float>(static_cast<size_t>(rows * top_k))};
  int64_t experts = static_cast<int64_t>(logits.size()) / rows;
  each_part(parts, [&](const Launch& launch) {
    select_kernels(level).route(launch, {{logits.data(), rows, experts}, top_k, normalize, out.experts, out.weights});
  });
  return out;
}

// What a rank that holds `held` lists of choices.
struct Places {
  std::vector<int32_t> ends, row_of, place_of;
  bool operator==(const Places&) const = default;
};
Places places_of(const Routed& chosen, int top_k, UnitRange held, std::string_view level, int parts = 1) {
  const size_t count = static_cast<size_t>(held.size()), rows = chosen.experts.size() / static_cast<size_t>(top_k);
  Places p{std::vector<int32_t>(count, 77),
           std::vector<int32_t>(rows * std::min(static_cast<size_t>(top_k), count), 77),
           std::vector<int32_t>(chosen.experts.size(), 77)};
  each_part(parts, [&](const Launch& launch) {
    select_kernels(level).place_by_expert(launch, {chosen.experts, top_k, held.begin, p.ends, p.row_of, p.place_of});
  });
  return p;
}

// Which experts each of some rows goes to, with what weight, and the results. About one of so many experts gets a row.
struct Assigned {
  int total;  // experts
  int64_t rows, columns;
  int top_k;
  std::vector<int32_t> experts, place_of;
  std::vector<float> weights, y;
};
Assigned assign(int total, int64_t rows, int64_t columns, int one_of) {
  Source source(static_cast<uint32_t>(total * 7 + columns));
  Assigned a{total, rows, columns, total, {}, {}, {}, {}};
  int32_t results = 0;
  for (int64_t i = 0; i < rows * total; i++) {
    bool goes = source.below(one_of) == 0;
    a.experts.push_back(static_cast<int32_t>(total - 1 - i % total));  // in any order
    a.place_of.push_back(goes ? results++ : -1);
    a.weights.push_back(goes ? source.value() : kNan);
  }
  a.y = source.extremes(static_cast<size_t>(results * columns));
  return a;
}

// What a rank with the experts `held` gives: one [rows, columns] for each of its roots.
std::vector<std::vector<float>> combine(const Assigned& a, UnitRange held, const Kernels& kernels, int parts) {
  std::vector<UnitRange> leaves;
  for (int e = held.begin; e < held.end; e++) leaves.push_back({e, e + 1});
  std::vector<int32_t> place_of = a.place_of;
  for (size_t i = 0; i < place_of.size(); i++)
    if (a.experts[i] < held.begin || a.experts[i] >= held.end) place_of[i] = -1;
  TreeProgram program = tree_program(a.total, leaves);
  size_t count = static_cast<size_t>(a.rows * a.columns), stride = count + 5;
  Guarded out(static_cast<size_t>(program.roots) * stride * 4);
  int64_t results = a.columns > 0 ? static_cast<int64_t>(a.y.size()) / a.columns : 0;
  each_part(parts, [&](const Launch& launch) {
    kernels.expert_combine(launch, {{a.y.data(), results, a.columns},
                                    a.experts,
                                    a.weights,
                                    place_of,
                                    a.top_k,
                                    held,
                                    a.total,
                                    &program,
                                    a.rows,
                                    out.floats(),
                                    static_cast<int64_t>(stride)});
  });
  CHECK(out.intact());
  std::vector<std::vector<float>> roots;
  for (int r = 0; r < program.roots; r++) {
    const float* root = out.floats() + static_cast<size_t>(r) * stride;
    roots.emplace_back(root, root + count);
    for (size_t i = count; i < stride; i++) CHECK(root[i] == 0);  // between the roots nothing is written
  }
  return roots;
}

}  // namespace

TEST_CASE("route: the most probable experts in descending order, ties by lower id") {
  const float third = std::log(2.0f);
  for (auto level : available_levels()) {
    Routed out = route({0, third, 0, third, -100, 0}, 1, 3, false, level);
    CHECK(out.experts == std::vector<int32_t>{1, 3, 0});
    CHECK(out.weights[0] == doctest::Approx(2.0 / 7));
    CHECK(out.weights[1] == doctest::Approx(2.0 / 7));
    CHECK(out.weights[2] == doctest::Approx(1.0 / 7));
    out = route({0, third, 0, third, -100, 0}, 1, 3, true, level);
    CHECK(out.weights[0] == doctest::Approx(0.4));
    CHECK(out.weights[2] == doctest::Approx(0.2));
    out = route({1, 2, 3}, 1, 3, true, level);
    CHECK(out.experts == std::vector<int32_t>{2, 1, 0});
    CHECK(out.weights[0] == doctest::Approx(0.6652409558));
    CHECK(route({5}, 1, 1, true, level).weights == std::vector<float>{1});
    out = route({-INFINITY, 1, -INFINITY, -INFINITY}, 1, 3, true, level);  // experts that are switched off
    CHECK(out.experts == std::vector<int32_t>{1, 0, 2});
    CHECK(out.weights == std::vector<float>{1, 0, 0});
  }
}

TEST_CASE("route: a NaN or an infinity among the logits gives the lowest ids and NaN, in its row alone") {
  for (auto level : available_levels())
    for (float odd : {kNan, INFINITY}) {
      Routed out = route({1, 2, 3, 4, 1, odd, 3, 4, 4, 3, 2, 1}, 3, 2, true, level);
      CHECK(out.experts == std::vector<int32_t>{3, 2, 0, 1, 0, 1});
      CHECK(std::isnan(out.weights[2]));
      CHECK(std::isnan(out.weights[3]));
      CHECK(out.weights[0] == out.weights[4]);
      CHECK(out.weights[0] == doctest::Approx(0.7310585786));
    }
}

TEST_CASE("route agrees with a sort of FP64 probabilities; every level and part count gives the reference's bits") {
  for (int experts : {1, 2, 15, 16, 17, 60, 128, 1500})
    for (int top_k : {1, 2, 8})
      for (bool normalize : {false, true}) {
        if (top_k > experts) continue;
        Source source(static_cast<uint32_t>(experts));
        const int64_t rows = 7;
        std::vector<float> logits = source.values(static_cast<size_t>(rows * experts), 3);
        Routed expected = route(logits, rows, top_k, normalize, "reference");
        for (int64_t i = 0; i < rows; i++) {
          std::vector<std::pair<double, int32_t>> order;  // by -e^x
          double all = 0, chosen = 0;
          for (int32_t e = 0; e < experts; e++)
            order.push_back({-std::exp(double{logits[static_cast<size_t>(i * experts + e)]}), e});
          std::sort(order.begin(), order.end());
          for (int e = 0; e < experts; e++) all += order[static_cast<size_t>(e)].first;
          for (int e = 0; e < top_k; e++) chosen += order[static_cast<size_t>(e)].first;
          for (int j = 0; j < top_k; j++) {
            size_t at = static_cast<size_t>(i * top_k + j);
            CHECK(expected.experts[at] == order[static_cast<size_t>(j)].second);
            CHECK(std::fabs(expected.weights[at] / (order[static_cast<size_t>(j)].first / (normalize ? chosen : all)) -
                            1) < 3e-6);
          }
        }
        for (auto level : available_levels())
          for (int parts : teams_of(level, {1, 2, 3})) {
            Routed out = route(logits, rows, top_k, normalize, level, parts);
            CHECK(out.experts == expected.experts);
            CHECK(same_floats(out.weights.data(), expected.weights.data(), out.weights.size()));
          }
      }
}

TEST_CASE("place_by_expert: an expert's rows stand together, ascending, one expert's behind the other's") {
  const Routed chosen{{4, 2, 0, 1, 2, 4}, {0.75f, 0.25f, 0.5f, 0.5f, 0.625f, 0.375f}};
  for (auto level : available_levels()) {
    CAPTURE(level);
    Places p = places_of(chosen, 2, {2, 5}, level);  // the second row's are others'
    CHECK(p.ends == std::vector<int32_t>{2, 2, 4});
    CHECK(p.row_of == std::vector<int32_t>{0, 2, 0, 2, -1, -1});
    CHECK(p.place_of == std::vector<int32_t>{2, 0, -1, -1, 1, 3});
    p = places_of(chosen, 2, {4, 5}, level);  // fewer than a row chooses
    CHECK(p.ends == std::vector<int32_t>{2});
    CHECK(p.row_of == std::vector<int32_t>{0, 2, -1});
    CHECK(places_of(chosen, 2, {3, 4}, level).ends == std::vector<int32_t>{0});
  }
}

TEST_CASE("place_by_expert: every level and part count lists the same") {
  for (int experts : {1, 3, 8, 9, 60, 300})
    for (int64_t rows : {1, 31, 32, 70}) {
      const int top_k = std::min(experts, 4);
      Source source(static_cast<uint32_t>(experts + rows));
      const Routed chosen = route(source.values(static_cast<size_t>(rows * experts)), rows, top_k, true, "reference");
      for (UnitRange held : {UnitRange{0, experts}, UnitRange{0, (experts + 1) / 2}, UnitRange{experts / 3, experts}}) {
        const Places expected = places_of(chosen, top_k, held, "reference");
        for (auto level : available_levels())
          for (int parts : teams_of(level, {1, 2, 3})) CHECK(places_of(chosen, top_k, held, level, parts) == expected);
      }
    }
}

TEST_CASE("expert_combine: weighted results added along the tree of all experts, zeros included") {
  // Five experts: ((0 + 1) + 2) + (3 + 4). Row 0 goes to 1 and 3, row 1 to none, row 2 to 0, with a result of -0.
  Assigned a{5, 3, 2, 2, {3, 1, 2, 4, 0, 4}, {1, 0, -1, -1, 2, -1}, {0.5f, 0.25f, kNan, kNan, 1, kNan}, {}};
  a.y = {4, 8, 6, 10, -0.0f, 3};
  for (auto level : available_levels()) {
    auto roots = combine(a, {0, 5}, select_kernels(level), 1);
    CHECK(roots.size() == 1);
    const float expected[] = {4, 7, 0, 0, 0, 3};
    CHECK(same_floats(roots[0].data(), expected, 6));  // +0 where -0 met a zero
    roots = combine(a, {0, 1}, select_kernels(level), 1);
    CHECK(same(roots[0][4], -0.0f));                       // alone it stays -0
    roots = combine(a, {1, 4}, select_kernels(level), 1);  // 1, 2 and 3 have no sum of their own
    CHECK(roots.size() == 3);
    CHECK(roots[0] == std::vector<float>{1, 2, 0, 0, 0, 0});
    CHECK(roots[1] == std::vector<float>(6, 0.0f));
    CHECK(roots[2] == std::vector<float>{3, 5, 0, 0, 0, 0});
  }
}

TEST_CASE("expert_combine: every level and part count gives the reference's bits, for any experts held") {
  for (int experts : {1, 2, 5, 8, 60})
    for (int64_t columns : {1, 17, 64, 300})
      for (int one_of : {1, 3, 1000}) {
        Assigned a = assign(experts, 4, columns, one_of);
        for (UnitRange held :
             {UnitRange{0, experts}, UnitRange{0, (experts + 1) / 2}, UnitRange{experts / 3, experts}}) {
          auto expected = combine(a, held, select_kernels("reference"), 1);
          for (auto level : available_levels())
            for (int parts : teams_of(level, {1, 2, 3})) {
              auto out = combine(a, held, select_kernels(level), parts);
              REQUIRE(out.size() == expected.size());
              for (size_t r = 0; r < out.size(); r++)
                CHECK(same_floats(out[r].data(), expected[r].data(), expected[r].size()));
            }
        }
      }
}

TEST_CASE("expert_combine: more experts than the fast path takes") {
  Assigned a = assign(1500, 2, 20, 100);
  auto expected = combine(a, {0, 1500}, select_kernels("reference"), 1);
  for (auto level : available_levels()) {
    auto out = combine(a, {0, 1500}, select_kernels(level), 1);
    CHECK(same_floats(out[0].data(), expected[0].data(), expected[0].size()));
  }
}

TEST_CASE("expert_combine and tree_combine: no border between ranks shows") {
  for (int experts : {5, 8, 60}) {
    Assigned a = assign(experts, 3, 33, 3);
    for (auto level : available_levels()) {
      Kernels kernels = select_kernels(level);
      auto whole = combine(a, {0, experts}, kernels, 1);
      for (int ranks : {2, 3, 4}) {
        std::vector<std::vector<float>> sums;
        std::vector<UnitRange> nodes;
        for (int r = 0; r < ranks; r++) {
          UnitRange held{experts * r / ranks, experts * (r + 1) / ranks};
          for (UnitRange node : maximal_nodes(experts, held)) nodes.push_back(node);
          for (auto& root : combine(a, held, kernels, 1)) sums.push_back(root);
        }
        std::vector<const float*> pointers;
        for (const auto& sum : sums) pointers.push_back(sum.data());
        TreeProgram program = tree_program(experts, nodes);
        std::vector<float> out(whole[0].size());
        kernels.tree_combine({}, {pointers, &program, 33, {out.data(), 3, 33}, false});
        CHECK(same_floats(out.data(), whole[0].data(), out.size()));
      }
    }
  }
}

}  // namespace trireme::testing

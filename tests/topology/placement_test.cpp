#include "topology/placement.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

using namespace trireme;

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// host_of[r]: of rank r, on CPUs of one NUMA node; each rank has `gib` for itself.
Machine on(const std::vector<int>& host_of, int64_t gib = 16) {
  std::vector<RankProbe> probes;
  for (int host : host_of) {
    const auto mates = std::count(host_of.begin(), host_of.end(), host);
    const auto first = std::find(host_of.begin(), host_of.end(), host) - host_of.begin();
    probes.push_back({{.boot_id = std::to_string(host), .cpus = {{0, 0, 0, 0}}},
                      {.allowed = {0}, .available_bytes = gib * kGiB * mates, .domain = static_cast<int>(first)}});
  }
  return Machine::of(std::move(probes));
}

// counts[i]: ranks of host i, numbered host by host.
Machine on_hosts(const std::vector<int>& counts, int64_t gib = 16) {
  std::vector<int> host_of;
  for (size_t host = 0; host < counts.size(); host++)
    host_of.insert(host_of.end(), static_cast<size_t>(counts[host]), static_cast<int>(host));
  return on(host_of, gib);
}

Layout place(const Machine& machine, const ModelNeed& need, const Degrees& wish) {
  const Links links(machine, 0);
  return trireme::place(machine, links, possible_layouts(machine, links, need, {wish}).front(), need.num_layers);
}

// 30 layers of 9 units, as SmolLM2-135M; small enough for anything.
ModelNeed small_model() {
  return {.num_layers = 30,
          .max_tp = 9,
          .layer_bytes = 4 << 20,
          .embedding_bytes = 56 << 20,
          .tied = true,
          .kv_layer_bytes = 1 << 20,
          .rank_bytes = 100 << 20};
}
// 80 layers, 140 GB of weights, as a 70B in BF16.
ModelNeed large_model() {
  return {.num_layers = 80,
          .max_tp = 64,
          .layer_bytes = kGiB * 17 / 10,
          .embedding_bytes = 2 * kGiB,
          .head_bytes = 2 * kGiB,
          .kv_layer_bytes = 8 << 20,
          .rank_bytes = kGiB};
}

std::string refusal(const Machine& machine, const ModelNeed& need, const Degrees& wish) {
  try {
    place(machine, need, wish);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::configuration);
    return error.what();
  }
  FAIL("not refused");
  return "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void check_complete(const Layout& layout) {
  std::set<std::tuple<int, int, int>> seen;
  for (Coordinates c : layout.at) {
    CHECK(c.tp < layout.tp);
    CHECK(c.pp < layout.pp);
    CHECK(c.dp < layout.dp);
    CHECK(seen.insert({c.dp, c.pp, c.tp}).second);
  }
  CHECK(static_cast<int>(layout.at.size()) == layout.tp * layout.pp * layout.dp);
}

}  // namespace

TEST_CASE("a small model gets replicas only") {
  for (int n : {1, 2, 6, 7}) {
    Layout layout = place(on_hosts({n}), small_model(), {});
    CHECK(layout.tp == 1);
    CHECK(layout.pp == 1);
    CHECK(layout.dp == n);
    check_complete(layout);
  }
}

TEST_CASE("a large model gets the smallest tp x pp that fits, tensor parallel first, replicas for the rest") {
  Layout layout = place(on_hosts({4, 4}, 80), large_model(), {});  // 140 GiB: two ranks of 80 are enough
  CHECK(layout.tp == 2);
  CHECK(layout.pp == 1);
  CHECK(layout.dp == 4);
  CHECK(layout.remarks.empty());
  check_complete(layout);
  layout = place(on_hosts({4, 4}, 24), large_model(), {});  // all eight
  CHECK(layout.tp == 4);
  CHECK(layout.pp == 2);
  CHECK(layout.dp == 1);
  for (int r = 0; r < 8; r++)
    CHECK(layout.at[static_cast<size_t>(r)] == Coordinates{r % 4, r / 4, 0});  // a stage a host
}

TEST_CASE("auto never lets a TP group leave its host: 3 + 1 ranks get stages") {
  Layout layout = place(on_hosts({3, 1}, 80), large_model(), {});
  CHECK(layout.tp == 1);
  CHECK(layout.pp == 2);
  CHECK(layout.dp == 2);
  check_complete(layout);
  CHECK(has(refusal(on_hosts({3, 1}), small_model(), {.pp = 1, .dp = 1}), "across hosts"));
}

TEST_CASE("tp by hand may span hosts, and is told what that costs") {
  Layout layout = place(on_hosts({3, 1}), small_model(), {.tp = 2});
  CHECK(layout.dp == 2);
  CHECK(layout.at[0] == Coordinates{0, 0, 0});
  CHECK(layout.at[1] == Coordinates{1, 0, 0});
  CHECK(layout.at[2] == Coordinates{0, 0, 1});
  CHECK(layout.at[3] == Coordinates{1, 0, 1});
  REQUIRE(layout.remarks.size() == 1);
  CHECK(has(layout.remarks[0], "ranks 2 3 spans hosts"));
  CHECK(has(layout.remarks[0], "60 sums"));
  CHECK(place(on_hosts({2, 2}), small_model(), {.tp = 4}).remarks.size() == 1);
  CHECK(place(on_hosts({4, 4}), small_model(), {.tp = 4}).remarks.empty());
}

TEST_CASE("TP groups form inside hosts even when ranks were dealt out in turn") {
  Layout layout = place(on({0, 1, 0, 1, 0, 1, 0, 1}), small_model(), {.tp = 2, .pp = 2});
  CHECK(layout.remarks.empty());
  check_complete(layout);
  for (int dp = 0; dp < 2; dp++)
    for (int pp = 0; pp < 2; pp++) CHECK(layout.rank_at({0, pp, dp}) % 2 == layout.rank_at({1, pp, dp}) % 2);
}

TEST_CASE("odd layouts by hand: 7 = 7 x 1 x 1, 6 = 3 x 2 x 1, 1 = 1 x 1 x 1") {
  CHECK(place(on_hosts({7}), small_model(), {.tp = 7}).dp == 1);
  Layout layout = place(on_hosts({6}), small_model(), {.tp = 3, .pp = 2});
  CHECK(layout.at[4] == Coordinates{1, 1, 0});
  CHECK(place(on_hosts({1}), small_model(), {.tp = 1, .pp = 1, .dp = 1}).at[0] == Coordinates{});
  CHECK(place(on_hosts({6}), small_model(), {.dp = 2}).dp == 2);  // the rest is chosen
}

TEST_CASE("a layout that is not the ranks is refused with the arithmetic and near choices") {
  std::string text = refusal(on_hosts({4}), small_model(), {.tp = 3});
  CHECK(has(text, "tp 3 x pp auto x dp auto does not make 4 ranks"));
  CHECK(has(text, "tp 4 x pp 1 x dp 1"));
  CHECK(has(text, "= 3) (1 would be spare); try"));
  CHECK(has(text, "start 3 or 6 ranks"));
  text = refusal(on_hosts({4}), small_model(), {.tp = 2, .pp = 2, .dp = 2});
  CHECK(has(text, "2 x 2 x 2 = 8"));
  CHECK(has(text, "start 8 ranks"));
  CHECK(has(refusal(on_hosts({10}), small_model(), {.tp = 10}), "--tp 10: a layer of this model has 9 units"));
  CHECK(has(refusal(on_hosts({31}), small_model(), {.pp = 31}), "--pp 31: this model has 30 layers"));
  CHECK(has(refusal(on_hosts({31}), small_model(), {.tp = 1, .pp = 31}), "30 layers"));
}

TEST_CASE("a model that fits nowhere is refused with the bytes") {
  std::string text = refusal(on_hosts({4}, 8), large_model(), {});
  CHECK(has(text, "does not fit"));
  CHECK(has(text, "8192 MiB are free"));
}

TEST_CASE("the fullest rank is counted: uneven units, uneven layers, both ends of a tied model") {
  ModelNeed need{.num_layers = 30,
                 .max_tp = 9,
                 .layer_bytes = 900,
                 .embedding_bytes = 90,
                 .tied = true,
                 .kv_layer_bytes = 90,
                 .rank_bytes = 5};
  CHECK(bytes_needed(need, 1, 1) == 5 + 30 * 990 + 90);
  CHECK(bytes_needed(need, 2, 1) == 5 + 30 * 550 + 50);  // 5 of 9 units
  CHECK(bytes_needed(need, 1, 4) == 5 + 8 * 990 + 90);   // 8 of 30 layers
  ModelNeed dealt = need;
  dealt.stage_split = {4, 26};
  CHECK(bytes_needed(dealt, 1, 2) == 5 + 26 * 990 + 90);
  need.tied = false;
  need.head_bytes = 180;
  CHECK(bytes_needed(need, 1, 1) == 5 + 30 * 990 + 270);
  CHECK(bytes_needed(need, 1, 2) == 5 + 15 * 990 + 180);
}

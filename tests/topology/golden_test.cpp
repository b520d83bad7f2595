#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "testkit/error_of.h"
#include "testkit/golden_machines.h"
#include "topology/adapters.h"
#include "topology/machine_json.h"
#include "topology/nearest.h"
#include "topology/placement_text.h"
#include "topology/threads.h"

using namespace trireme;
using nlohmann::json;

// Golden machines: each file of machines/ is a machine, and what its ranks should be given, written by hand with the
// reason. Fields: "about"; "machine" (topology/machine_json.h), whose ranks have no "gpu" where they should be given
// one; "placements", each with "why", "model" (a name of models()), "wish" {"tp", "pp", "dp", "allow_slow"} and either
// "refused", a part of what is said, or any of
//   "choices"  every possible layout, "8x1x1" being tp x pp x dp, the best first;
//   "ranks"    of each rank ["dp.pp.tp", device, network adapter]: a GPU by its number, a MIG instance by its UUID,
//              the CPUs of its threads, or those that it shares in brackets; "-" is no adapter;
//   "groups", "hops"  the slowest link of each TP group, of each pair of neighbouring stages, replica by replica; one
//              text where all are alike;
//   "remarks"  a part of each.
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// In the memory of a rank: one, 17, 142 GiB at tp 1 x pp 1.
const std::map<std::string, ModelNeed>& models() {
  static const std::map<std::string, ModelNeed> kModels = {{"135m",
                                                            {.num_layers = 30,
                                                             .max_tp = 9,
                                                             .layer_bytes = 4 << 20,
                                                             .embedding_bytes = 56 << 20,
                                                             .tied = true,
                                                             .kv_layer_bytes = 1 << 20,
                                                             .rank_bytes = 100 << 20}},
                                                           {"8b",
                                                            {.num_layers = 32,
                                                             .max_tp = 32,
                                                             .layer_bytes = kGiB * 43 / 100,
                                                             .embedding_bytes = kGiB,
                                                             .head_bytes = kGiB,
                                                             .kv_layer_bytes = 8 << 20,
                                                             .rank_bytes = kGiB}},
                                                           {"70b",
                                                            {.num_layers = 80,
                                                             .max_tp = 64,
                                                             .layer_bytes = kGiB * 17 / 10,
                                                             .embedding_bytes = 2 * kGiB,
                                                             .head_bytes = 2 * kGiB,
                                                             .kv_layer_bytes = 8 << 20,
                                                             .rank_bytes = kGiB}}};
  return kModels;
}

std::string device_of(const Machine& machine, int rank) {
  const Rank& r = machine.ranks[static_cast<size_t>(rank)];
  if (const Gpu* gpu = machine.gpu_of_rank(rank)) return gpu->uuid == r.gpu ? std::to_string(gpu->index) : r.gpu;
  if (!r.gpu.empty()) return r.gpu;
  const std::vector<int> pinned = thread_plan(machine, rank, 0).cpus;
  return pinned.empty() ? "(" + cpu_list(r.allowed) + ")" : cpu_list(pinned);
}

std::string nic_of(const Machine& machine, int rank) {
  const int host = machine.host_of[static_cast<size_t>(rank)];
  const std::vector<int> here = machine.ranks_on(host), nics = nearest_nics(machine, host);
  const int nic = nics[static_cast<size_t>(std::find(here.begin(), here.end(), rank) - here.begin())];
  return nic < 0 ? "-" : machine.hosts[static_cast<size_t>(host)].nics[static_cast<size_t>(nic)].name;
}

json ranks_of(const Machine& machine, const Layout& layout) {
  json ranks = json::array();
  for (int r = 0; r < machine.size(); r++) {
    const Coordinates c = layout.at[static_cast<size_t>(r)];
    ranks.push_back({fmt::format("{}.{}.{}", c.dp, c.pp, c.tp), device_of(machine, r), nic_of(machine, r)});
  }
  return ranks;
}

// One text where all are alike.
json summary(const std::vector<std::string>& words) {
  const bool alike = std::all_of(words.begin(), words.end(), [&](const std::string& word) { return word == words[0]; });
  return alike && !words.empty() ? json(words[0]) : json(words);
}

json groups_of(const Links& links, const Layout& layout) {
  std::vector<std::string> words;
  for (int dp = 0; dp < layout.dp; dp++)
    for (int pp = 0; pp < layout.pp; pp++) words.push_back(link_class_name(links.slowest(layout.group(pp, dp))));
  return summary(words);
}

json hops_of(const Links& links, const Layout& layout) {
  std::vector<std::string> words;
  for (int dp = 0; dp < layout.dp; dp++)
    for (int pp = 0; pp + 1 < layout.pp; pp++)
      words.push_back(link_class_name(links.slowest_hop(layout.group(pp, dp), layout.group(pp + 1, dp))));
  return summary(words);
}

json choices_of(const std::vector<Degrees>& all) {
  json choices = json::array();
  for (const Degrees& d : all) choices.push_back(fmt::format("{}x{}x{}", d.tp, d.pp, d.dp));
  return choices;
}

void check_remarks(const json& expected, const std::vector<std::string>& remarks) {
  CAPTURE(fmt::format("{}", fmt::join(remarks, "\n")));
  CHECK(remarks.size() == expected.size());
  for (size_t i = 0; i < std::min(remarks.size(), expected.size()); i++)
    CHECK(testkit::contains(remarks[i], expected[i].get<std::string>()));
}

void check_placement(const Machine& machine, const json& expected) {
  CHECK(expected.at("why").get<std::string>().size() > 20);
  const ModelNeed& need = models().at(expected.at("model"));
  const json wish = expected.value("wish", json::object());
  const LayoutWish wished{{wish.value("tp", 0), wish.value("pp", 0), wish.value("dp", 0)},
                          wish.value("allow_slow", false)};
  const Links links(machine, 0);
  std::vector<Degrees> choices;
  const std::string error = testkit::error_of([&] { choices = possible_layouts(machine, links, need, wished); });
  if (expected.contains("refused")) {
    CAPTURE(error);
    CHECK(error.starts_with("78: "));
    CHECK(testkit::contains(error, expected["refused"].get<std::string>()));
    return;
  }
  CHECK(error == "");
  if (!error.empty()) return;
  if (expected.contains("choices")) CHECK(choices_of(choices) == expected["choices"]);
  Layout layout = place(machine, links, choices.front(), need.num_layers);
  for (std::string& remark : far_adapters(machine, links, layout, 0)) layout.remarks.push_back(std::move(remark));
  CHECK(ranks_of(machine, layout) == expected.at("ranks"));
  if (expected.contains("groups")) CHECK(groups_of(links, layout) == expected["groups"]);
  if (expected.contains("hops")) CHECK(hops_of(links, layout) == expected["hops"]);
  check_remarks(expected.value("remarks", json::array()), layout.remarks);
}

}  // namespace

TEST_CASE("golden machines are placed as people who know them would") {
  size_t files = 0;
  for (const std::filesystem::path& path : testkit::golden_files(TRIREME_GOLDEN_MACHINES)) {
    CAPTURE(path.stem().string());
    const json golden = testkit::read_golden(path);
    Machine machine = machine_from_json(golden.at("machine"), path.filename().string());
    testkit::take_gpus(machine);
    REQUIRE(!golden.at("placements").empty());
    for (const json& placement : golden["placements"]) {
      CAPTURE(placement.at("why").get<std::string>());
      check_placement(machine, placement);
    }
    files++;
  }
  CHECK(files >= 40);  // a folder that is empty proves nothing
}

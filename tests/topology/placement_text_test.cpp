#include "topology/placement_text.h"

#include <doctest/doctest.h>

#include "topology/adapters.h"

using namespace trireme;

namespace {

Gpu gpu(int index, int numa) {
  return {.index = index, .name = "NVIDIA X", .uuid = "g" + std::to_string(index), .switch_links = 4, .numa = numa};
}

// Two hosts of two GPUs each.
Machine two_hosts() {
  Machine machine;
  for (int h = 0; h < 2; h++) {
    const std::string name = h == 0 ? "node-a" : "b";
    machine.hosts.push_back({.name = name,
                             .cpus = {{0, 0, 0, 0}, {1, 1, 1, 1}},
                             .gpus = {.gpus = {gpu(0, 0), gpu(1, 1)}},
                             .nics = {{.name = "mlx5_0", .numa = 0}}});
    for (int i = 0; i < 2; i++) {
      machine.ranks.push_back({.host_name = name, .allowed = {0, 1}, .gpu = "g" + std::to_string(i), .domain = 2 * h});
      machine.host_of.push_back(h);
    }
  }
  return machine;
}

}  // namespace

TEST_CASE("the placement is a line a rank, then a line for each group and hop with its slowest link") {
  const Machine machine = two_hosts();
  const Links links(machine, 0);
  const Layout layout = place(machine, links, {2, 2, 1}, 4);
  CHECK(placement_text(machine, links, layout, 0) ==
        "rank  host    dp  pp  tp  device          NUMA  adapter\n"
        "0     node-a  0   0   0   GPU 0 NVIDIA X  0     mlx5_0\n"
        "1     node-a  0   0   1   GPU 1 NVIDIA X  1     mlx5_0\n"
        "2     b       0   1   0   GPU 0 NVIDIA X  0     mlx5_0\n"
        "3     b       0   1   1   GPU 1 NVIDIA X  1     mlx5_0\n"
        "TP group of dp 0 pp 0: ranks 0 1, NVSwitch\n"
        "hop of dp 0 from pp 0 to 1: the network\n"
        "TP group of dp 0 pp 1: ranks 2 3, NVSwitch\n");
  const std::vector<std::string> remarks = far_adapters(machine, links, layout, 0);
  REQUIRE(remarks.size() == 1);
  CHECK(remarks[0].find("ranks 1 3 ") != std::string::npos);
  CHECK(far_adapters(machine, links, place(machine, links, {2, 1, 2}, 4), 0).empty());
}

TEST_CASE("what was measured stands behind each group and hop") {
  Machine machine = two_hosts();
  machine.measured_links = {{0, 1, 12, 380, kPeerCopies}, {0, 2, 2, 24, "ucx"}, {1, 3, 3, 20, "ucx"}};
  const Links links(machine, 0);
  const std::string text = placement_text(machine, links, place(machine, links, {2, 2, 1}, 4), 0);
  for (const char* line :
       {"ranks 0 1, NVSwitch, 12.0 us and 380.0 GB/s at worst (ranks 0-1, NVSwitch, peer copies)\n",
        "hop of dp 0 from pp 0 to 1: the network, 3.0 us and 20.0 GB/s at worst (ranks 1-3, the network, ucx)\n",
        "ranks 2 3, NVSwitch\n"})
    CHECK(text.find(line) != std::string::npos);
}

TEST_CASE("CPU ranks have the CPUs of their threads, or those that they share; a MIG instance its UUID") {
  Machine machine = two_hosts();
  for (Rank& rank : machine.ranks) rank.gpu = "";
  machine.ranks[2].allowed = machine.ranks[3].allowed = {0};
  machine.hosts[0].nics.clear();
  machine.hosts[0].gpus.gpus[0].instances = {{.uuid = "MIG-1"}};
  machine.ranks[1].gpu = "MIG-1";
  const Links links(machine, 1);
  CHECK(placement_text(machine, links, place(machine, links, {1, 1, 4}, 4), 1) ==
        "rank  host    dp  pp  tp  device                 NUMA  adapter\n"
        "0     node-a  0   0   0   CPUs 0                 0     -\n"
        "1     node-a  1   0   0   GPU 0, instance MIG-1  0     -\n"
        "2     b       2   0   0   CPUs 0, not pinned     0     mlx5_0\n"
        "3     b       3   0   0   CPUs 0, not pinned     0     mlx5_0\n");
}

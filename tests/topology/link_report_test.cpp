#include "topology/link_report.h"

#include <doctest/doctest.h>

#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

namespace {

// One host of as many cores as ranks, a rank a core.
Machine cores(int ranks) {
  Machine machine;
  machine.hosts.resize(1);
  for (int r = 0; r < ranks; r++) {
    machine.hosts[0].cpus.push_back({r, r, 0, 0});
    machine.ranks.push_back({.host_name = "n0", .allowed = {r}});
    machine.host_of.push_back(0);
  }
  return machine;
}

// Likewise, a GPU a rank, behind one NVSwitch.
Machine gpus(int ranks) {
  Machine machine = cores(ranks);
  for (int r = 0; r < ranks; r++) {
    const std::string uuid = "g" + std::to_string(r);
    machine.hosts[0].gpus.gpus.push_back({.index = r, .uuid = uuid, .pci = uuid, .switch_links = 18, .numa = 0});
    machine.ranks[static_cast<size_t>(r)].gpu = uuid;
  }
  return machine;
}

// Every pair, all alike.
void measure_all(Machine& machine, double latency_us, double gbps, const std::string& transport) {
  machine.measured_links.clear();
  for (int a = 0; a < machine.size(); a++)
    for (int b = a + 1; b < machine.size(); b++) machine.measured_links.push_back({a, b, latency_us, gbps, transport});
}

std::vector<std::string> remarks(const Machine& machine, int threads = 1) {
  return slow_links(machine, Links(machine, threads), threads);
}

}  // namespace

TEST_CASE("links as they should be bring no remark") {
  Machine machine = cores(4);
  measure_all(machine, 0.4, 9.8, "shm");
  CHECK(remarks(machine).empty());
  machine = gpus(8);
  measure_all(machine, 12, 380, kPeerCopies);
  CHECK(remarks(machine).empty());
  CHECK(remarks(cores(4)).empty());  // nothing was measured
}

TEST_CASE("a link several times slower than the median of its class is named, with its figures and what to check") {
  Machine machine = gpus(8);
  measure_all(machine, 12, 380, kPeerCopies);
  machine.measured_links[9].gbps = 94;  // above any floor
  REQUIRE(remarks(machine).size() == 1);
  CHECK(remarks(machine)[0] ==
        "1 of 28 measured links over NVSwitch, peer copies is slow: ranks 1-4 at worst with 12.0 us and 94.0 GB/s, the "
        "median is 12.0 us and 380.0 GB/s, and at most 53.0 us and at least 95.0 GB/s are expected; see nvidia-smi "
        "nvlink -s and nvidia-smi topo -m, and the fabric manager");
  machine.measured_links[9] = {1, 4, 60, 380, kPeerCopies};
  CHECK(contains(remarks(machine)[0], "ranks 1-4 at worst with 60.0 us"));
}

TEST_CASE("two links have no median: only the floor of their class judges them") {
  Machine machine = cores(3);
  machine.measured_links = {{0, 1, 0.3, 10, "shm"}, {1, 2, 1.5, 1.7, "shm"}};
  CHECK(remarks(machine).empty());
  machine.measured_links[1].gbps = 0.5;
  REQUIRE(remarks(machine).size() == 1);
  CHECK(contains(remarks(machine)[0], "ranks 1-2 at worst with 1.5 us and 0.5 GB/s"));
  machine.measured_links[1] = {1, 2, 40, 10, "shm"};
  CHECK(contains(remarks(machine)[0], "other programs on their CPUs"));
}

TEST_CASE("a class whose every link is slow is found by its floor") {
  Machine machine = gpus(4);
  measure_all(machine, 12, 20, kPeerCopies);
  REQUIRE(remarks(machine).size() == 1);
  CHECK(contains(remarks(machine)[0], "6 of 6 measured links over NVSwitch, peer copies are slow"));
  CHECK(contains(remarks(machine)[0], "at least 80.0 GB/s"));
}

TEST_CASE("a few microseconds are no outlier") {
  Machine machine = cores(4);
  measure_all(machine, 0.1, 9, "shm");
  machine.measured_links[0].latency_us = 4.9;
  CHECK(remarks(machine).empty());
  machine.measured_links[0].latency_us = 5.5;
  CHECK(remarks(machine).size() == 1);
}

TEST_CASE("GPUs that the map joins, but that do not open each other's memory") {
  Machine machine = gpus(2);
  measure_all(machine, 0.4, 9, "shm");
  REQUIRE(remarks(machine).size() == 1);
  CHECK(contains(remarks(machine)[0], "the GPUs of ranks 0-1 do not open each other's memory"));
  CHECK(contains(remarks(machine)[0], "the map says NVSwitch"));
  for (Gpu& gpu : machine.hosts[0].gpus.gpus) gpu.mig = true;  // of which the map says so itself
  CHECK(remarks(machine).empty());
}

TEST_CASE("figures of ranks that share CPUs or a GPU, or of GPUs that nobody shows, say nothing of a link") {
  Machine machine = cores(2);
  measure_all(machine, 900, 0.01, "shm");
  CHECK(remarks(machine).size() == 1);
  CHECK(remarks(machine, 2).empty());  // two threads a rank on one core
  machine.ranks[1].allowed = {0};
  CHECK(remarks(machine).empty());
  machine = gpus(2);
  measure_all(machine, 900, 0.01, kPeerCopies);
  machine.ranks[1].gpu = machine.ranks[0].gpu;
  CHECK(remarks(machine).empty());
  machine.ranks[1].gpu = "hidden";
  CHECK(remarks(machine).empty());
}

TEST_CASE("the network's floor is low, and its check is the adapter") {
  Machine machine = cores(1);
  machine.hosts.push_back(machine.hosts[0]);
  machine.ranks.push_back({.host_name = "n1", .allowed = {0}, .domain = 1});
  machine.host_of.push_back(1);
  measure_all(machine, 30, 0.12, "ucx");
  CHECK(remarks(machine).empty());
  measure_all(machine, 1000, 0.12, "ucx");
  REQUIRE(remarks(machine).size() == 1);
  CHECK(contains(remarks(machine)[0], "over the network, ucx"));
  CHECK(contains(remarks(machine)[0], "UCX_NET_DEVICES"));
}

TEST_CASE("one line for the log: the worst of the groups and of the hops") {
  Machine machine = cores(4);
  const Links links(machine, 1);
  const Layout layout{{2, 2, 1}, {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {1, 1, 0}}, {}};
  machine.measured_links = {
      {0, 1, 0.4, 9.8, "shm"}, {2, 3, 0.3, 10, "shm"}, {0, 2, 0.6, 8, "shm"}, {1, 3, 0.5, 7, "shm"}};
  CHECK(links_text(machine, links, layout) ==
        "tp 0.4 us and 9.8 GB/s at worst (ranks 0-1, one NUMA node, shm); hops 0.6 us (ranks 0-2, one NUMA node, shm) "
        "and "
        "7.0 GB/s (ranks 1-3, one NUMA node, shm) at worst");
  machine.measured_links.resize(1);
  CHECK(links_text(machine, links, layout) == "tp 0.4 us and 9.8 GB/s at worst (ranks 0-1, one NUMA node, shm)");
}

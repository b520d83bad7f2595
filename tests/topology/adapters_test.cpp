#include "topology/adapters.h"

#include <doctest/doctest.h>

#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

namespace {

HostNic port(const char* name, int numa = 0, Nic::Kind kind = Nic::Kind::infiniband) {
  return {.name = name, .nic = {kind, 200}, .numa = numa};
}
HostNic ethernet(const char* name, int numa = 0) { return port(name, numa, Nic::Kind::ethernet); }

bool takes(const char* entry, const HostNic& nic) { return AdapterChoice::parse(entry).takes(nic); }

// Two hosts of two sockets with an adapter each, a rank a socket: 0 and 1 on one host, 2 and 3 on the other.
Machine two_hosts() {
  Machine machine;
  for (int h = 0; h < 2; h++) {
    machine.hosts.push_back({.cpus = {{0, 0, 0, 0}, {1, 1, 1, 1}}, .nics = {port("mlx5_0", 0), port("mlx5_1", 1)}});
    for (int core = 0; core < 2; core++) {
      machine.ranks.push_back({.host_name = h ? "b" : "a", .allowed = {core}, .domain = 2 * h});
      machine.host_of.push_back(h);
    }
  }
  return machine;
}

// Rank r sends to r + 2 over the network, and to nobody else.
Layout stages() { return {1, 2, 2, {{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {0, 1, 1}}, {}}; }

std::vector<std::string> wrong(const Machine& machine, const std::vector<std::string>& choices,
                               const Layout& layout = stages()) {
  return wrong_adapters(machine, Links(machine, 1), layout, 1, choices);
}

}  // namespace

TEST_CASE("UCX_NET_DEVICES: devices with ports, interfaces, all; a device's only port is its first") {
  CHECK(takes("UCX_NET_DEVICES=mlx5_0:1", port("mlx5_0")));
  CHECK(!takes("UCX_NET_DEVICES=mlx5_0:2", port("mlx5_0")));
  CHECK(takes("UCX_NET_DEVICES=mlx4_0:2", port("mlx4_0:2")));
  CHECK(!takes("UCX_NET_DEVICES=mlx4_0:2", port("mlx4_0:1")));
  CHECK(!takes("UCX_NET_DEVICES=mlx5_1:1", port("mlx5_10")));  // no prefixes
  CHECK(takes("UCX_NET_DEVICES=mlx5_0:1,eth0", ethernet("eth0")));
  CHECK(!takes("UCX_NET_DEVICES=mlx5_0:1,eth0", ethernet("eth1")));
  CHECK(takes("UCX_NET_DEVICES=all", port("mlx5_3")));
  CHECK(!takes("UCX_NET_DEVICES=^mlx5_0:1", port("mlx5_0")));
  CHECK(takes("UCX_NET_DEVICES=^mlx5_0:1", port("mlx5_1")));
}

TEST_CASE("NCCL_IB_HCA: prefixes of devices, exact behind =, all but those behind ^, with or without a port") {
  CHECK(takes("NCCL_IB_HCA=mlx5", port("mlx5_3")));
  CHECK(takes("NCCL_IB_HCA=mlx5_1", port("mlx5_10")));
  CHECK(!takes("NCCL_IB_HCA==mlx5_1", port("mlx5_10")));
  CHECK(takes("NCCL_IB_HCA==mlx5_1", port("mlx5_1")));
  CHECK(!takes("NCCL_IB_HCA=^mlx5_1", port("mlx5_10")));
  CHECK(takes("NCCL_IB_HCA=^=mlx5_1", port("mlx5_10")));
  CHECK(takes("NCCL_IB_HCA=mlx5_0:1,mlx5_2:1", port("mlx5_2")));
  CHECK(!takes("NCCL_IB_HCA=mlx4_0:1", port("mlx4_0:2")));
  CHECK(takes("NCCL_IB_HCA=mlx4_0", port("mlx4_0:2")));
  CHECK(takes("NCCL_IB_HCA=roce", port("rocep1s0", 0, Nic::Kind::roce)));
  CHECK(!takes("NCCL_IB_HCA=eth", ethernet("eth0")));
  CHECK(!takes("NCCL_IB_HCA=^mlx5_0", ethernet("eth0")));
}

TEST_CASE("other entries choose nothing, nor do empty ones") {
  for (const char* entry : {"", "UCX_NET_DEVICES=", "NCCL_IB_HCA=^", "NCCL_IB_HCA==", "NCCL_IB_HCA=,", "UCX_TLS=tcp"})
    CHECK(!AdapterChoice::parse(entry).is_given());
}

TEST_CASE("a rank whose only named adapters are far, while one at its own node is up") {
  const Machine machine = two_hosts();
  const std::string first = "UCX_NET_DEVICES=mlx5_0:1", second = "UCX_NET_DEVICES=mlx5_1:1";
  REQUIRE(wrong(machine, {first, first, first, first}).size() == 1);
  CHECK(wrong(machine, {first, first, first, first})[0] ==
        "what ranks 1 3 exchange with other hosts crosses NUMA nodes by the user's choice: rank 1 is at node 1, "
        "UCX_NET_DEVICES=mlx5_0:1 leaves it mlx5_0 at node 0 alone, and mlx5_1 at node 1 is up");
  CHECK(wrong(machine, {first, second, first, second}).empty());  // each its own
  CHECK(contains(wrong(machine, {second, "", "", ""})[0], "rank 0 is at node 0"));
  const std::string both = "UCX_NET_DEVICES=mlx5_0:1,mlx5_1:1";
  CHECK(wrong(machine, {both, both, both, both}).empty());
  CHECK(wrong(machine, {"", "", "", ""}).empty());
}

TEST_CASE("nobody is refused whose messages stay on the host, who has no nearer adapter, or of whom nobody knows") {
  const std::string first = "UCX_NET_DEVICES=mlx5_0:1";
  const std::vector<std::string> all(4, first);
  Machine machine = two_hosts();
  CHECK(wrong(machine, all, {2, 1, 2, {{0, 0, 0}, {1, 0, 0}, {0, 0, 1}, {1, 0, 1}}, {}}).empty());
  CHECK(wrong(machine, std::vector<std::string>(4, "UCX_NET_DEVICES=eth7")).empty());  // the library will say
  for (Host& host : machine.hosts) host.nics.pop_back();
  CHECK(wrong(machine, all).empty());
  CHECK(far_adapters(machine, Links(machine, 1), stages(), 1).size() == 1);
  machine = two_hosts();
  for (Host& host : machine.hosts) host.nics[1].numa = -1;
  CHECK(wrong(machine, all).empty());
  machine = two_hosts();
  for (Host& host : machine.hosts) host.nics[1].nic.gbit_per_s = 25;  // a service network
  CHECK(wrong(machine, all).empty());
}

TEST_CASE("NCCL is not told to take an Ethernet port") {
  Machine machine = two_hosts();
  for (Host& host : machine.hosts) host.nics[1] = ethernet("eth0", 1);
  CHECK(wrong(machine, std::vector<std::string>(4, "NCCL_IB_HCA=mlx5_0")).empty());
  CHECK(wrong(machine, std::vector<std::string>(4, "UCX_NET_DEVICES=mlx5_0:1")).size() == 1);
}

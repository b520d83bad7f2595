#include "topology/host.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/thread_pool.h"

namespace trireme {

TEST_CASE("an invented machine takes the same road as a real one") {
  Host host = probe_host("package:2 numa:2 l3:1 core:8 pu:2");
  CHECK(host.packages == 2);
  CHECK(host.numa_nodes == 4);
  CHECK(host.cores == 32);
  CHECK(host.cpus == 64);
  CHECK(host.l3_caches == 4);
}

TEST_CASE("nonsense is refused in words") { CHECK_THROWS_AS(probe_host("two big ones"), Error); }

TEST_CASE("this machine has CPUs and memory, and the mask is the process's own") {
  Host host = probe_host();
  CHECK_FALSE(host.name.empty());
  CHECK(host.cpus >= 1);
  CHECK(host.allowed_cpus == allowed_cpus());
  CHECK_FALSE(host.allowed_numa_nodes.empty());
  CHECK(host.memory_bytes > 0);
  CHECK(host.memory_available_bytes <= host.memory_bytes);
}

TEST_CASE("CPU lists are written as ranges") {
  CHECK(cpu_list({}) == "none");
  CHECK(cpu_list({3}) == "3");
  CHECK(cpu_list({0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11");
}

}  // namespace trireme

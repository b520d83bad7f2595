#include "topology/host.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "topology/machine_compare.h"

namespace trireme {

TEST_CASE("an invented machine takes the same road as a real one") {
  Host host = invent_host("package:2 numa:2 l3:1 core:8 pu:2");
  CHECK(host.packages() == 2);
  CHECK(host.numa_nodes() == 4);
  CHECK(host.cores() == 32);
  CHECK(host.cpus.size() == 64);
  CHECK(host.l3_caches == 4);
}

TEST_CASE("nonsense is refused in words") { CHECK_THROWS_AS(invent_host("two big ones"), Error); }

TEST_CASE("this machine has CPUs and memory, and the mask is the process's own") {
  Host host = probe_host();
  CHECK_FALSE(host.name.empty());
  CHECK_FALSE(host.cpus.empty());
  CHECK_FALSE(host.numa_of(allowed_cpus()).empty());
  CHECK(differences(host, host).empty());
  CHECK(host.memory_bytes > 0);
  CHECK(host.memory_available_bytes <= host.memory_bytes);
}

TEST_CASE("CPU lists are written as ranges") {
  CHECK(cpu_list({}) == "none");
  CHECK(cpu_list({3}) == "3");
  CHECK(cpu_list({0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11");
}

}  // namespace trireme

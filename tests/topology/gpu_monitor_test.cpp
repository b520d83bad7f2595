#include "topology/gpu_monitor.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <chrono>
#include <nlohmann/json.hpp>

namespace trireme {

namespace {

using Json = nlohmann::ordered_json;

const std::string kRest = "000000000000000000000000";

// What is reported of the GPU whose UUID begins so, where tests/testkit/nvml/fake_nvml.cpp shows these words.
Json report(const char* words, const std::string& uuid, const char* library = TRIREME_FAKE_NVML) {
  ::setenv("TRIREME_TEST_NVML", words, 1);
  GpuMonitor monitor(uuid.empty() ? uuid : uuid + kRest, library);
  monitor.stop();
  return monitor.report().value_or(nullptr);
}

}  // namespace

TEST_CASE("a sample is of the GPU with that UUID, wherever it stands") {
  const Json seen = report("t4 h100", "abc00001");
  CHECK(seen == Json::parse(R"({"uuid": "GPU-abc00001-0000-0000-0000-000000000000", "name": "NVIDIA H100 80GB HBM3",
    "memory_used_bytes": 1073741824, "memory_total_bytes": 85899345920, "utilization_percent": 97,
    "memory_utilization_percent": 41, "sm_clock_mhz": 1755, "sm_clock_max_mhz": 1980, "memory_clock_mhz": 2619,
    "memory_clock_max_mhz": 2619, "temperature_c": 61, "power_w": 412, "throttle": "none", "samples": 1,
    "throttled_samples": 0, "throttle_seen": "none", "sm_clock_lowest_mhz": 1755})"));
}

TEST_CASE("why a GPU is slowed down stands there in words") {
  const Json seen = report("hot", "abc00000");
  CHECK(seen["throttle"] == "power cap, hardware thermal slowdown");
  CHECK(seen["throttled_samples"] == 1);
  CHECK(seen["sm_clock_lowest_mhz"] == 1005);
}

TEST_CASE("an idle GPU is not throttled, and its clocks say nothing of the run") {
  const Json seen = report("idle", "abc00000");
  CHECK(seen["throttle"] == "idle");
  CHECK(seen["sm_clock_mhz"] == 345);
  CHECK(seen["throttled_samples"] == 0);
  CHECK_FALSE(seen.contains("sm_clock_lowest_mhz"));
}

TEST_CASE("an instance has memory of its own, and the clocks of its chip") {
  const Json seen = report("h100 mig", "abc10001");
  CHECK(seen["uuid"] == "MIG-abc10001-0000-0000-0000-000000000000");
  CHECK(seen["memory_total_bytes"] == int64_t{10} << 30);
  CHECK_FALSE(seen.contains("utilization_percent"));
  CHECK(seen["sm_clock_mhz"] == 1755);
  CHECK(seen["throttle"] == "none");
}

TEST_CASE("of a chip that is split, the memory would not be the rank's") {
  const Json seen = report("mig", "abc00000");
  CHECK_FALSE(seen.contains("memory_used_bytes"));
  CHECK(seen["power_w"] == 412);
}

TEST_CASE("nothing is reported where nothing can be known") {
  CHECK(report("h100", "").is_null());
  CHECK(report("h100", "abc00001").is_null());  // another GPU than NVML shows
  CHECK(report("lost", "abc00000").is_null());
  CHECK(report("init=9", "abc00000").is_null());
  CHECK(report("h100", "abc00000", "libnvidia-ml-of-nobody.so.1").is_null());
  CHECK(report("h100", "abc00000", "libm.so.6").is_null());
}

TEST_CASE("samples go on, a second apart") {
  ::setenv("TRIREME_TEST_NVML", "hot", 1);
  const GpuMonitor monitor("abc00000" + kRest, TRIREME_FAKE_NVML);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Json seen;
  while (std::chrono::steady_clock::now() < give_up && (seen.is_null() || seen["samples"] < 2))
    seen = monitor.report().value_or(nullptr);
  CHECK(seen["samples"] == 2);
  CHECK(seen["throttled_samples"] == 2);
}

TEST_CASE("nobody waits for a call that hangs") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(report("hangs", "abc00000").is_null());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

}  // namespace trireme

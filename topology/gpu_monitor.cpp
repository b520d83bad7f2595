#include "topology/gpu_monitor.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>

#include "topology/nvml.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

constexpr std::chrono::seconds kEvery{1};     // as often as status.json is written
constexpr std::chrono::seconds kPatience{1};  // with a call, when the sampling is to end

struct Reading {
  const char *field, *function;
  int kind;  // NVML_CLOCK_SM is 1, NVML_CLOCK_MEM 2, NVML_TEMPERATURE_GPU 0
};
constexpr Reading kReadings[] = {
    {"sm_clock_mhz", "nvmlDeviceGetClockInfo", 1},     {"sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", 1},
    {"memory_clock_mhz", "nvmlDeviceGetClockInfo", 2}, {"memory_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", 2},
    {"temperature_c", "nvmlDeviceGetTemperature", 0},
};

struct Reason {
  unsigned long long bit;
  const char* words;
};
constexpr unsigned long long kIdle = 0x1;
constexpr Reason kReasons[] = {
    {kIdle, "idle"},
    {0x2, "application clocks"},
    {0x4, "power cap"},
    {0x8, "hardware slowdown"},
    {0x10, "sync boost"},
    {0x20, "software thermal slowdown"},
    {0x40, "hardware thermal slowdown"},
    {0x80, "hardware power brake"},
    {0x100, "display clocks"},
};
constexpr unsigned long long kThrottle = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;  // those that slow a busy GPU down

// "power cap, hardware thermal slowdown"; "none".
std::string throttle_text(unsigned long long reasons) {
  std::string text;
  for (const Reason& reason : kReasons)
    if (reasons & reason.bit) text += (text.empty() ? "" : ", ") + std::string(reason.words);
  return text.empty() ? "none" : text;
}

// What one GPU told so far.
class Samples {
 public:
  Samples(const Nvml& nvml, const std::string& uuid) : nvml_(nvml) {
    const std::string dashed = fmt::format("{}-{}-{}-{}-{}", uuid.substr(0, 8), uuid.substr(8, 4), uuid.substr(12, 4),
                                           uuid.substr(16, 4), uuid.substr(20));
    for (const char* prefix : {"GPU-", "MIG-"}) {
      const std::string name = prefix + dashed;
      if (nvml.call("nvmlDeviceGetHandleByUUID", name.c_str(), &device_) != Nvml::kSuccess) continue;
      found_ = true;
      about_["uuid"] = name;
      break;
    }
    if (!found_) return;
    // Clocks, power and heat are those of the whole chip.
    const bool instance = nvml.call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device_, &chip_) == Nvml::kSuccess;
    if (!instance) chip_ = device_;
    unsigned mig = 0, pending = 0;
    split_ = !instance && nvml.call("nvmlDeviceGetMigMode", device_, &mig, &pending) == Nvml::kSuccess && mig != 0;
    if (const std::string name = nvml.text("nvmlDeviceGetName", device_); !name.empty()) about_["name"] = name;
  }

  bool found() const { return found_; }

  // Nothing: it tells nothing now.
  std::optional<ordered_json> take() {
    ordered_json now = readings();
    unsigned long long reasons = 0;
    // Its later name is nvmlDeviceGetCurrentClocksEventReasons; drivers have both.
    const bool known = nvml_.call("nvmlDeviceGetCurrentClocksThrottleReasons", chip_, &reasons) == Nvml::kSuccess;
    if (known) now["throttle"] = throttle_text(reasons);
    if (now.is_null()) return std::nullopt;
    samples_++;
    now["samples"] = samples_;
    if (known) {
      throttled_ += (reasons & kThrottle) != 0;
      seen_ |= reasons & kThrottle;
      now["throttled_samples"] = throttled_;
      now["throttle_seen"] = throttle_text(seen_);
    }
    // An idle GPU lowers its clocks, which slows nothing.
    if (now.contains("sm_clock_mhz") && !(reasons & kIdle))
      lowest_sm_clock_ = std::min(lowest_sm_clock_, now["sm_clock_mhz"].get<unsigned>());
    if (lowest_sm_clock_ != ~0u) now["sm_clock_lowest_mhz"] = lowest_sm_clock_;
    ordered_json all = about_;
    all.update(now);
    return all;
  }

 private:
  ordered_json readings() const {
    ordered_json now;
    // Of a chip that is split into instances they would not be this rank's.
    Nvml::Memory memory{};
    if (!split_ && nvml_.call("nvmlDeviceGetMemoryInfo", device_, &memory) == Nvml::kSuccess) {
      now["memory_used_bytes"] = memory.used;
      now["memory_total_bytes"] = memory.total;
    }
    struct {
      unsigned gpu, memory;  // percent of the time that a kernel ran, that memory was read or written
    } utilization{};
    if (!split_ && nvml_.call("nvmlDeviceGetUtilizationRates", device_, &utilization) == Nvml::kSuccess) {
      now["utilization_percent"] = utilization.gpu;
      now["memory_utilization_percent"] = utilization.memory;
    }
    for (const Reading& reading : kReadings)
      if (unsigned value = 0; nvml_.call(reading.function, chip_, reading.kind, &value) == Nvml::kSuccess)
        now[reading.field] = value;
    if (unsigned milliwatts = 0; nvml_.call("nvmlDeviceGetPowerUsage", chip_, &milliwatts) == Nvml::kSuccess)
      now["power_w"] = (milliwatts + 500) / 1000;
    return now;
  }

  const Nvml& nvml_;
  Nvml::Device device_ = nullptr, chip_ = nullptr;
  bool found_ = false, split_ = false;
  ordered_json about_;
  int64_t samples_ = 0, throttled_ = 0;
  unsigned long long seen_ = 0;
  unsigned lowest_sm_clock_ = ~0u;
};

}  // namespace

struct GpuMonitor::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false, ended = false;
  std::optional<ordered_json> report;

  void sample(const std::string& uuid, const std::string& library) {
    const Nvml nvml(library);
    if (!nvml.missing().empty()) return;
    Samples samples(nvml, uuid);
    for (bool over = !samples.found(); !over;) {
      std::optional<ordered_json> now = samples.take();
      std::unique_lock lock(mutex);
      if (now) report = std::move(now);
      over = changed.wait_for(lock, kEvery, [&] { return stopping; });
    }
  }

  void end() {
    const std::lock_guard lock(mutex);
    ended = true;
    changed.notify_all();
  }
};

GpuMonitor::GpuMonitor(std::string uuid, std::string library) : shared_(std::make_shared<Shared>()) {
  shared_->ended = uuid.empty();
  if (uuid.empty()) return;
  try {
    std::thread([shared = shared_, uuid = std::move(uuid), library = std::move(library)] {
      shared->sample(uuid, library);
      shared->end();
    }).detach();
  } catch (const std::system_error&) {  // this process may have no more threads
    shared_->ended = true;
  }
}

GpuMonitor::~GpuMonitor() { stop(); }

void GpuMonitor::stop() {
  std::unique_lock lock(shared_->mutex);
  shared_->stopping = true;
  shared_->changed.notify_all();
  shared_->changed.wait_for(lock, kPatience, [&] { return shared_->ended; });
  shared_->ended = true;  // or given up
}

std::optional<ordered_json> GpuMonitor::report() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->report;
}

}  // namespace trireme

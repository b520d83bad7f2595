#include "launch/calibration_file.h"

#include <fmt/core.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/json_file.h"
#include "launch/environment.h"

namespace trireme {

namespace {

constexpr int kVersion = 4;  // raised when a field changes its meaning: older files are measured again
constexpr const char* kMark = "trireme_calibration";

}  // namespace

std::string calibration_path(const Host& host, const std::string& level) {
  const std::string folder = Environment::read().cache_folder;
  const std::string machine =
      fmt::format("{}/{}/{}/{}/{}", host.cpu_model, host.packages(), host.cores(), host.cpus.size(), level);
  return folder.empty() ? "" : fmt::format("{}/calibration-{}.json", folder, hex16(xxh3(machine)));
}

std::optional<HostCosts> read_calibration(const Host& host, const std::string& level) {
  const std::string path = calibration_path(host, level);
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error)) return std::nullopt;
  const nlohmann::json file = read_json_file(path);
  const bool ours = file.is_object() && file.contains(kMark) && file.contains("costs");
  if (!ours) fail(ExitCode::bad_data, "{}: no calibration of this program; delete it", path);
  if (file[kMark] != kVersion) return std::nullopt;
  return HostCosts::parse(file["costs"], path);
}

std::optional<HostCosts> find_calibration(const Machine& machine, const std::string& level, std::string& why_not) {
  std::optional<HostCosts> costs;
  try {
    costs = read_calibration(machine.hosts.front(), level);
  } catch (const Error& error) {  // it is only a help
    if (error.code() != ExitCode::bad_data) throw;
    why_not = calibration_path(machine.hosts.front(), level) + " cannot be read";
  }
  const int cores = cluster_of(machine).cores;
  if (!costs || costs->cores >= cores) return costs;
  why_not = fmt::format("{} of {} cores are calibrated", costs->cores, cores);
  return std::nullopt;
}

Cluster calibrated_cluster(const Machine& machine, const HostCosts& costs) {
  Machine measured = machine;
  DeviceSheet rates;
  costs.set_rates(rates);
  const double share = cluster_of(machine).cores / costs.cores;
  for (Host& host : measured.hosts) host.read_gbps = rates.memory_bytes_per_s * share / 1e9;
  Cluster c = cluster_of(measured, {.bf16_flops = rates.bf16_flops * share, .int8_ops = rates.int8_ops * share});
  c.device.share = share;
  return c;
}

void write_calibration(const Host& host, const std::string& level, const HostCosts& costs) {
  const std::string path = calibration_path(host, level);
  if (path.empty())
    fail(ExitCode::cannot_create, "there is no cache folder for the calibration (HOME is not set); set XDG_CACHE_HOME");
  std::error_code error;
  std::filesystem::create_directories(folder_of(path), error);
  if (error) fail(ExitCode::cannot_create, "cannot create the folder {} ({})", folder_of(path), error.message());
  const nlohmann::ordered_json file = {{kMark, kVersion},       {"program", TRIREME_VERSION},
                                       {"cpu", host.cpu_model}, {"cores", host.cores()},
                                       {"level", level},        {"costs", costs.to_json()}};
  replace_file(path, file.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace trireme

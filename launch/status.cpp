#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "job/run_folder.h"
#include "launch/commands.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

constexpr std::streamsize kMaxFileBytes = 1 << 20;
constexpr int64_t kSilentSeconds = 180;  // a run says something each step, which has 120 s (--deadline-s)

std::string value_text(const ordered_json& value) {
  if (value.is_number_float()) return fmt::format("{:.1f}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// "counts.done     812": one line for each leaf that says something.
void print_leaves(const ordered_json& node, const std::string& name) {
  if (node == "") return;
  if (!node.is_object()) {
    fmt::print("{:<28} {}\n", name, value_text(node));
    return;
  }
  for (auto& [key, value] : node.items()) print_leaves(value, name.empty() ? key : name + "." + key);
}

struct GpuColumn {
  const char *label, *field, *most, *unit;
  double scale;
};
constexpr GpuColumn kGpuColumns[] = {{"busy ", "utilization_percent", "", " %", 1},
                                     {"memory ", "memory_used_bytes", "memory_total_bytes", " GiB", 1 << 30},
                                     {"SM ", "sm_clock_mhz", "sm_clock_max_mhz", " MHz", 1},
                                     {"", "power_w", "", " W", 1},
                                     {"", "temperature_c", "", " C", 1}};

// What a rank's GPU did when it was asked last, of which any part may be unknown.
std::string gpu_line(const ordered_json& gpu) {
  std::string line = value_text(gpu.value("name", ordered_json("GPU")));
  const auto number = [&](const char* field, double scale) {
    const bool known = gpu.contains(field) && gpu[field].is_number();
    return known ? fmt::format("{:.0f}", gpu[field].get<double>() / scale) : "";
  };
  for (const GpuColumn& column : kGpuColumns) {
    const std::string now = number(column.field, column.scale), most = number(column.most, column.scale);
    if (now.empty()) continue;
    line += fmt::format(", {}{}{}{}{}", column.label, now, most.empty() ? "" : " of ", most, column.unit);
  }
  if (gpu.contains("throttle")) line += ", throttle: " + value_text(gpu["throttle"]);
  return line;
}

// Takes the GPUs out of what is said of the ranks: they get lines of their own.
ordered_json take_gpus(ordered_json& status) {
  auto lines = ordered_json::object();
  if (!status.contains("ranks") || !status["ranks"].is_array()) return lines;
  for (ordered_json& rank : status["ranks"]) {
    if (!rank.is_object() || !rank.contains("gpu") || !rank["gpu"].is_object()) continue;
    lines[fmt::format("ranks.{}.gpu", value_text(rank.value("rank", ordered_json())))] = gpu_line(rank["gpu"]);
    rank.erase("gpu");
  }
  return lines;
}

// A killed job leaves "running" behind. Its lock names the process, and only that host knows whether it lives.
bool was_killed(const std::string& lock_path) {
  std::ifstream file(lock_path);
  std::string word, host;
  int pid = 0;
  char here[256] = "";
  ::gethostname(here, sizeof here - 1);
  if (!(file >> word >> pid >> word >> word >> host) || pid <= 0 || host != here) return false;
  return ::kill(pid, 0) != 0 && errno == ESRCH;
}

// The JSON object in a file of the run folder; null where there is none.
ordered_json object_in(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes, '\0');
  file.read(text.data(), kMaxFileBytes);
  text.resize(static_cast<size_t>(file.gcount()));
  auto json = ordered_json::parse(text, nullptr, false);
  return json.is_object() ? json : ordered_json();
}

// Rank 0 alone writes status.json, and may have been ended by another rank's fault before it could say so, or have said
// what followed from it.
void take_fault(ordered_json& status, const ordered_json& fault) {
  const std::string state = value_text(status.value("state", ordered_json("")));
  if ((state != "running" && state != "failed") || !fault.is_object()) return;
  const std::string said = value_text(fault.value("message", ordered_json("")));
  const std::string first = fmt::format("{} (rank {} on {})", said, value_text(fault.value("rank", ordered_json())),
                                        value_text(fault.value("host", ordered_json(""))));
  if (state == "failed") {
    const std::string own = value_text(status.value("message", ordered_json("")));
    if (own.find(said) == std::string::npos) status["message"] = fmt::format("{}; first: {}", own, first);
    return;
  }
  status["state"] = "failed";
  status["exit_code"] = fault.value("exit_code", ordered_json());
  status["message"] = first;
  status["predicted_end"] = nullptr;
}

// Seconds since it was written: as it says itself, else by its file.
int64_t age_of(const ordered_json& status, const std::string& path) {
  std::tm utc{};
  const auto updated = status.value("updated", ordered_json());
  if (updated.is_string() && ::strptime(updated.get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc))
    return std::max<int64_t>(0, time(nullptr) - ::timegm(&utc));
  std::error_code unreadable;
  const auto age = std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(path, unreadable);
  return unreadable ? 0 : std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(age).count());
}

// OUT.jsonl, of which the run folder may be given as well.
std::string output_of(std::string given) {
  while (given.ends_with('/')) given.pop_back();
  std::error_code unreadable;
  if (given.ends_with(".run") && std::filesystem::exists(given + "/status.json", unreadable))
    given.resize(given.size() - 4);
  return given;
}

}  // namespace

int status_command(const Options& options, const Environment&) {
  const std::string output = output_of(options.input), path = output + ".run/status.json";
  if (::access(path.c_str(), R_OK) != 0)
    fail(ExitCode::no_input, "no run stands at '{}': cannot read {} ({}); give the file that run -o named",
         options.input, path, errno_text());
  ordered_json status = object_in(path);
  if (status.is_null())
    fail(ExitCode::bad_data, "{} is not a JSON object; the run folder is damaged, run with --restart", path);
  take_fault(status, object_in(RunFolder::fault_path(output)));
  const bool running = status.value("state", ordered_json()) == "running";
  const bool killed = running && was_killed(output + ".run/lock");
  const int64_t age = age_of(status, path);
  if (killed) status["state"] = "killed";
  if (options.json) {
    status["age_s"] = age;
    fmt::print("{}\n", status.dump());
    return 0;
  }
  if (killed) status["state"] = "killed: its process is gone; run the same command again";
  if (running && !killed && age >= kSilentSeconds)
    status["state"] = "silent: running, but it has said nothing for long; it loads or writes files, or is gone";
  const ordered_json gpus = take_gpus(status);
  print_leaves(status, "");
  print_leaves(gpus, "");
  fmt::print("{:<28} {} s ago\n", "written", age);
  return 0;
}

}  // namespace trireme

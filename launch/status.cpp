#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "launch/commands.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

constexpr std::streamsize kMaxStatusBytes = 1 << 20;

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
  std::ifstream file(path, std::ios::binary);
  if (!file)
    fail(ExitCode::no_input, "no run stands at '{}': cannot read {} ({}); give the file that run -o named",
         options.input, path, errno_text());
  std::string text(kMaxStatusBytes, '\0');
  file.read(text.data(), kMaxStatusBytes);
  text.resize(static_cast<size_t>(file.gcount()));
  auto status = ordered_json::parse(text, nullptr, false);
  if (!status.is_object())
    fail(ExitCode::bad_data, "{} is not a JSON object; the run folder is damaged, run with --restart", path);
  const bool killed = status.value("state", ordered_json()) == "running" && was_killed(output + ".run/lock");
  if (killed) status["state"] = "killed";
  if (options.json) {
    fmt::print("{}\n", status.dump());
    return 0;
  }
  if (killed) status["state"] = "killed: its process is gone; run the same command again";
  print_leaves(status, "");
  auto age = std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(path);
  fmt::print("{:<28} {} s ago\n", "written", std::chrono::duration_cast<std::chrono::seconds>(age).count());
  return 0;
}

}  // namespace trireme

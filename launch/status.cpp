#include <fmt/format.h>

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
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// "counts.done     812": one line for each leaf.
void print_leaves(const ordered_json& node, const std::string& name) {
  if (!node.is_object()) {
    fmt::print("{:<28} {}\n", name, value_text(node));
    return;
  }
  for (auto& [key, value] : node.items()) print_leaves(value, name.empty() ? key : name + "." + key);
}

}  // namespace

int status_command(const Options& options, const Environment&) {
  std::string path = options.input + ".run/status.json";
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
  if (options.json) {
    fmt::print("{}\n", status.dump());
    return 0;
  }
  print_leaves(status, "");
  auto age = std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(path);
  fmt::print("{:<28} {} s ago\n", "written", std::chrono::duration_cast<std::chrono::seconds>(age).count());
  return 0;
}

}  // namespace trireme

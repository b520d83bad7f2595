#include "launch/inspect.h"

#include <fmt/core.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "launch/commands.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

constexpr size_t kShownListItems = 4;    // of a list of metadata
constexpr size_t kShownTextBytes = 120;  // of a text of metadata

const char* axis_name(UnitAxis axis) {
  constexpr const char* names[] = {"none", "rows", "columns"};
  return names[static_cast<int>(axis)];
}

uint64_t stored_bytes(const TensorInfo& t) {
  uint64_t bytes = 0;
  for (const auto& part : t.parts) bytes += part.unit_bytes * static_cast<uint64_t>(t.units);
  return bytes;
}

ordered_json describe(const TensorInfo& t) {
  return {{"name", t.name},
          {"rows", t.rows},
          {"columns", t.columns},
          {"format", format_name(t.format)},
          {"axis", axis_name(t.axis)},
          {"units", t.units},
          {"unit_rows", t.unit_rows},
          {"unit_columns", t.unit_columns},
          {"bytes", stored_bytes(t)},
          {"offset", t.parts[0].offset}};
}

int inspect_checkpoint(const Options& options) {
  Checkpoint checkpoint(options.input);
  if (options.json) {
    ordered_json all = {{"path", options.input},
                        {"kind", "checkpoint"},
                        {"bytes", checkpoint.file_bytes()},
                        {"digest", checkpoint.digest()},
                        {"config", checkpoint.config()}};
    for (const TensorInfo& t : checkpoint.tensors()) all["tensors"].push_back(describe(t));
    fmt::print("{}\n", all.dump());
    return 0;
  }
  fmt::print("{}: checkpoint, {} bytes, digest {}\n", options.input, checkpoint.file_bytes(), checkpoint.digest());
  for (auto& [key, value] : checkpoint.config().items()) fmt::print("{:<32} {}\n", key, value.dump());
  fmt::print("{:<32} {:>14}  {:<32} {:<8} {:>5} {:>14} {:>12}\n", "tensor", "shape", "format", "axis", "units", "unit",
             "bytes");
  for (const TensorInfo& t : checkpoint.tensors())
    fmt::print("{:<32} {:>14}  {:<32} {:<8} {:>5} {:>14} {:>12}\n", t.name, fmt::format("{} x {}", t.rows, t.columns),
               format_name(t.format), axis_name(t.axis), t.units, fmt::format("{} x {}", t.unit_rows, t.unit_columns),
               stored_bytes(t));
  return 0;
}

// A line is enough for people: long texts and lists are cut and say how much there is.
std::string shown(const std::string& text) {
  std::string line =
      ordered_json(text.substr(0, kShownTextBytes)).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return text.size() > kShownTextBytes ? fmt::format("{}... ({} bytes)", line, text.size()) : line;
}
std::string shown(bool value) { return value ? "true" : "false"; }
template <typename Number>
requires std::is_arithmetic_v<Number> std::string shown(Number value) { return fmt::format("{}", value); }
template <typename Item>
std::string shown(const std::vector<Item>& list) {
  std::string text = "[";
  for (size_t i = 0; i < std::min(list.size(), kShownListItems); i++)
    text += (i ? ", " : "") + shown(static_cast<Item>(list[i]));
  return list.size() > kShownListItems ? fmt::format("{}, ...] ({} items)", text, list.size()) : text + "]";
}

int inspect_gguf(const Options& options) {
  Gguf gguf(options.input);
  if (options.json) {
    ordered_json all = {{"path", options.input}, {"kind", "gguf"}, {"version", gguf.version()}};
    for (auto& [key, value] : gguf.metadata())
      all["metadata"][key] = std::visit([](const auto& v) { return shown(v); }, value);
    for (const GgufTensor& t : gguf.tensors())
      all["tensors"].push_back({{"name", t.name},
                                {"rows", t.rows},
                                {"columns", t.columns},
                                {"type", t.type->name},
                                {"offset", t.offset},
                                {"bytes", t.row_bytes * static_cast<uint64_t>(t.rows)}});
    fmt::print("{}\n", all.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    return 0;
  }
  fmt::print("{}: GGUF version {}, {} tensors\n", options.input, gguf.version(), gguf.tensors().size());
  for (auto& [key, value] : gguf.metadata())
    fmt::print("{:<44} {}\n", key, std::visit([](const auto& v) { return shown(v); }, value));
  fmt::print("{:<32} {:>14}  {:<6} {:>12} {:>12}\n", "tensor", "shape", "type", "offset", "bytes");
  for (const GgufTensor& t : gguf.tensors())
    fmt::print("{:<32} {:>14}  {:<6} {:>12} {:>12}\n", t.name, fmt::format("{} x {}", t.rows, t.columns), t.type->name,
               t.offset, t.row_bytes * static_cast<uint64_t>(t.rows));
  return 0;
}

// By its first byte, or the run folder beside it when it is empty.
bool is_result(const std::string& path) {
  return std::ifstream(path, std::ios::binary).peek() == '{' || std::filesystem::exists(path + ".run");
}

}  // namespace

int inspect_command(const Options& options, const Environment&) {
  std::error_code error;
  if (!std::filesystem::exists(options.input, error))
    fail(ExitCode::no_input, "there is no file '{}' ({}); check the path", options.input,
         error ? error.message() : "no such file");
  if (std::filesystem::is_directory(options.input, error)) return inspect_folder(options);
  if (Gguf::is_gguf(options.input)) return inspect_gguf(options);
  return is_result(options.input) ? inspect_result(options) : inspect_checkpoint(options);
}

}  // namespace trireme

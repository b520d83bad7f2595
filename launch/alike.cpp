#include "launch/alike.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "launch/commands.h"
#include "launch/option_table.h"

namespace trireme {

namespace {

// A rank's own: its host's library, the cache that its memory holds (ranks agree on the least), what it prints.
constexpr std::string_view kOwn[] = {"nccl", "kv-gib", "print-placement"};

std::string shown(const std::string& value) {
  constexpr size_t kMostBytes = 40;
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return plain && value.size() <= kMostBytes ? value : "XXH3 " + hex16(xxh3(value));
}

}  // namespace

nlohmann::ordered_json option_traits(const Options& options) {
  const Command* command = find_command(options.command);
  nlohmann::ordered_json traits = nlohmann::ordered_json::object();
  for (const OptionSpec& spec : option_table()) {
    if (!command || !(spec.commands & command->bit) || spec.group == "files" || spec.group == "general") continue;
    if (std::ranges::count(kOwn, spec.name) > 0) continue;
    traits[fmt::format("--{}", spec.name)] = shown(fmt::format("{}", fmt::join(values_of(options, spec), "\n")));
  }
  return traits;
}

std::string first_difference(const std::vector<nlohmann::ordered_json>& ranks) {
  for (size_t r = 1; r < ranks.size(); r++)
    for (const auto& [name, value] : ranks[0].items()) {
      const auto expected = value.get<std::string>(), seen = ranks[r].value(name, std::string());
      if (name != "host" && seen != expected)
        return fmt::format("rank {} on {} has {} '{}', rank 0 on {} '{}'", r, ranks[r].value("host", ""), name, seen,
                           ranks[0].value("host", ""), expected);
    }
  return "";
}

}  // namespace trireme

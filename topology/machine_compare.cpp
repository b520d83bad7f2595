#include "topology/machine_compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "topology/machine_json.h"

namespace trireme {

namespace {

using nlohmann::ordered_json;
using Lines = std::vector<std::string>;

// Fields that vary while the machine stays what it is: alike up to this factor.
struct Tolerance {
  std::string_view field;
  double factor;
};
constexpr Tolerance kTolerances[] = {
    // A kernel, or a driver, keeps a part of the memory for itself, another version a little more.
    {"machine_memory_bytes", 1.01},
    {"memory_bytes", 1.01},
    {"shm_bytes", 1.01},
    // One memory channel of four lost makes 1.33, half of a link's lanes 2. Measurements of an idle machine differ by
    // less; those of a shared one do not.
    {"read_gbps", 1.25},
    {"gbps", 1.25},
    // A message waits for the core that polls, or not.
    {"latency_us", 2},
};
constexpr size_t kMostKinds = 64;  // of hosts that are grouped: each host is compared with each kind
constexpr std::string_view kMeasured[] = {"read_gbps", "measured_links"};  // unknown until somebody measures

// What names a machine's parts, and what is free at the moment, taken out; GPUs by number in the place of UUIDs.
Machine nameless(Machine machine) {
  std::map<std::string, std::string> numbers;  // [UUID]
  const auto rename = [&](std::string& uuid, const std::string& number) {
    if (!uuid.empty()) numbers[uuid] = number;
    uuid = number;
  };
  for (Host& host : machine.hosts) {
    host.name.clear(), host.boot_id.clear();
    host.memory_available_bytes = host.shm_free_bytes = 0;
    for (size_t g = 0; g < host.gpus.gpus.size(); g++) {
      Gpu& gpu = host.gpus.gpus[g];
      gpu.free_bytes = 0;
      rename(gpu.uuid, fmt::format("GPU {}", g));
      for (size_t i = 0; i < gpu.instances.size(); i++)
        rename(gpu.instances[i].uuid, fmt::format("GPU {} instance {}", g, i));
    }
  }
  // Which GPUs share a fabric counts, not what the fabric is called.
  std::map<std::string, size_t> fabrics;  // [cluster's UUID]
  for (Host& host : machine.hosts)
    for (Gpu& gpu : host.gpus.gpus)
      if (const size_t slash = gpu.fabric.find('/'); slash != std::string::npos)
        gpu.fabric.replace(
            0, slash, std::to_string(fabrics.try_emplace(gpu.fabric.substr(0, slash), fabrics.size()).first->second));
  const auto number = [&](std::string& uuid) {
    if (const auto found = numbers.find(uuid); found != numbers.end()) uuid = found->second;
  };
  for (Rank& rank : machine.ranks) {
    rank.host_name.clear();
    rank.available_bytes = rank.gpu_available_bytes = 0;
    number(rank.gpu);
    std::for_each(rank.visible_gpus.begin(), rank.visible_gpus.end(), number);
  }
  return machine;
}

bool are_alike(const std::string& field, const ordered_json& a, const ordered_json& b) {
  if (a == b) return true;
  if (a.is_null() || b.is_null()) return std::ranges::find(kMeasured, field) != std::end(kMeasured);
  const auto* tolerance = std::ranges::find(kTolerances, field, &Tolerance::field);
  if (tolerance == std::end(kTolerances)) return false;
  const double x = a.get<double>(), y = b.get<double>();
  return std::max(x, y) <= std::min(x, y) * tolerance->factor;
}

// Hosts, GPUs, CPUs and their like, not addresses or names.
bool is_list_of_parts(const ordered_json& value) {
  return value.is_array() && !value.empty() && value.front().is_structured();
}

// A CPU is a row in a dump; here its columns have names.
ordered_json fields_of(const ordered_json& part) {
  if (part.is_object()) return part;
  return {{"id", part[0]}, {"core", part[1]}, {"numa", part[2]}, {"package", part[3]}};
}

// A word or two: of what has parts, how many.
std::string shown(const ordered_json& value) {
  if (value.empty() || value == "") return "none";
  if (value.is_object() || is_list_of_parts(value)) return fmt::format("{}", value.size());
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  const auto replaced = ordered_json::error_handler_t::replace;  // a host's names may be any bytes
  const std::string text = value.dump(-1, ' ', false, replaced);
  return value.is_string() ? text.substr(1, text.size() - 2) : text;  // what is no letter stays escaped
}

Lines differing(const ordered_json& a, const ordered_json& b);

// What is true of several parts is one line.
Lines differing_parts(const std::string& field, const ordered_json& a, const ordered_json& b) {
  Lines lines;
  if (a.size() != b.size()) lines.push_back(fmt::format("{}: {} and {}", field, a.size(), b.size()));
  // The first hosts of a larger job are comparable; but one GPU, CPU or rank that is missing moves all others.
  if (a.size() != b.size() && field != "hosts") return lines;
  std::map<std::string, std::vector<int>> places;  // [line]
  for (size_t i = 0; i < std::min(a.size(), b.size()); i++)
    if (a[i] != b[i])
      for (const std::string& line : differing(fields_of(a[i]), fields_of(b[i])))
        places[line].push_back(static_cast<int>(i));
  for (const auto& [line, where] : places) lines.push_back(fmt::format("{} {} {}", field, cpu_list(where), line));
  return lines;
}

// null: it is not there.
Lines differing_field(const std::string& field, const ordered_json& a, const ordered_json& b) {
  if (are_alike(field, a, b)) return {};
  if (is_list_of_parts(a) && is_list_of_parts(b)) return differing_parts(field, a, b);
  if (!a.is_object() || !b.is_object()) return {fmt::format("{}: {} and {}", field, shown(a), shown(b))};
  Lines lines = differing(a, b);
  for (std::string& line : lines) line = field + " " + line;
  return lines;
}

// Of two objects, in the order of their fields.
Lines differing(const ordered_json& a, const ordered_json& b) {
  static const ordered_json kNothing;
  Lines lines;
  const auto add = [&](const std::string& field, const ordered_json& mine, const ordered_json& other) {
    const Lines found = differing_field(field, mine, other);
    lines.insert(lines.end(), found.begin(), found.end());
  };
  for (const auto& [field, mine] : a.items()) add(field, mine, b.contains(field) ? b.at(field) : kNothing);
  for (const auto& [field, other] : b.items())
    if (!a.contains(field)) add(field, kNothing, other);
  return lines;
}

// Alone.
ordered_json json_of(const Host& host) {
  Machine machine;
  machine.hosts.push_back(host);
  return machine_to_json(nameless(std::move(machine)))["hosts"][0];
}

}  // namespace

std::vector<std::string> differences(const Machine& a, const Machine& b) {
  return differing(machine_to_json(nameless(a)), machine_to_json(nameless(b)));
}

std::vector<std::string> differences(const Host& a, const Host& b) { return differing(json_of(a), json_of(b)); }

std::vector<std::vector<int>> alike_hosts(const Machine& machine) {
  std::vector<std::vector<int>> groups;
  std::vector<ordered_json> kinds;  // of the first groups
  for (int h = 0; h < std::ssize(machine.hosts); h++) {
    ordered_json host = json_of(machine.hosts[static_cast<size_t>(h)]);
    const auto known =
        std::ranges::find_if(kinds, [&](const ordered_json& k) { return k == host || differing(k, host).empty(); });
    if (known != kinds.end()) {
      groups[static_cast<size_t>(known - kinds.begin())].push_back(h);
      continue;
    }
    if (kinds.size() < kMostKinds) kinds.push_back(std::move(host));
    groups.push_back({h});
  }
  return groups;
}

}  // namespace trireme

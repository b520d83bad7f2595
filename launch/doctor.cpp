#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "launch/commands.h"
#include "launch/gather_reports.h"
#include "launch/node_report.h"
#include "launch/versions.h"
#include "topology/host.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

std::string limit_text(const std::string& name, int64_t limit) {
  if (limit < 0) return "unlimited";
  return name == "open files" ? fmt::format("{}", limit) : fmt::format("{} KiB", limit >> 10);  // as ulimit says it
}

// One block: the host's facts once, then a line for each of its ranks.
std::string host_block(const std::vector<const ordered_json*>& ranks) {
  const ordered_json& r = *ranks[0];
  std::string text = fmt::format("{}\n{}", r["host"].get<std::string>(), r["machine"].get<std::string>());
  text += fmt::format("  kernel levels  {}\n", fmt::join(r["levels"].get<std::vector<std::string>>(), " "));
  text += "  limits        ";
  for (auto& [name, limit] : r["limits"].items()) text += fmt::format(" {} {};", name, limit_text(name, limit));
  text.back() = '\n';
  for (const ordered_json* rank : ranks)
    text += fmt::format("  rank {:<4}      CPUs {}, NUMA {}, GPUs {}\n", (*rank)["rank"].get<int>(),
                        cpu_list((*rank)["cpus"]), cpu_list((*rank)["numa_nodes"]), (*rank)["gpus"].get<std::string>());
  return text;
}

}  // namespace

int doctor_command(const Options& options, const Environment& environment) {
  std::vector<ordered_json> reports = gather_reports(node_report(options, environment), environment);
  if (reports.empty()) return 0;  // not rank 0
  fmt::print("{}\n", version_text(true, options));
  fmt::print("launcher       {}, {} rank{}\n\n", reports[0]["launcher"].get<std::string>(), reports.size(),
             reports.size() == 1 ? "" : "s");

  std::map<std::string, std::vector<const ordered_json*>> hosts;
  for (const ordered_json& r : reports) hosts[r["host"]].push_back(&r);
  for (auto& [name, ranks] : hosts) fmt::print("{}\n", host_block(ranks));

  auto found = findings(reports, environment);
  if (found.empty()) fmt::print("nothing wrong was found\n");
  for (const std::string& line : found) fmt::print("finding: {}\n", line);
  return 0;
}

}  // namespace trireme

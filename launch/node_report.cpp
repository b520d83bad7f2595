#include "launch/node_report.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <map>

#include "base/thread_pool.h"
#include "device/cuda.h"
#include "kernels/select.h"
#include "launch/versions.h"
#include "topology/host.h"
#include "topology/launch_check.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

// Bytes free that a group of 8 ranks and Open MPI want: windows of a hidden size of 8192, on GPUs of larger steps.
constexpr uint64_t small_shm(bool on_gpus) { return uint64_t{on_gpus ? 1280u : 256u} << 20; }
constexpr int64_t kFewFiles = 1024;

// -1: unlimited.
int64_t limit_of(decltype(RLIMIT_NOFILE) resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<int64_t>(limit.rlim_cur);
}

void check_rank(const ordered_json& r, std::vector<std::string>& found) {
  std::string who = fmt::format("rank {} on {}", r["rank"].get<int>(), r["host"].get<std::string>());
  if (const std::string missing = r["cuda_missing"]; r["gpus"] != "none" && !missing.empty())
    found.push_back(fmt::format("{}: its GPUs are of no use: {}", who, missing));
  const bool on_gpus = r["gpus"] != "none" && r["cuda_missing"].get<std::string>().empty();
  if (r["shm_free"].get<uint64_t>() < small_shm(on_gpus))
    found.push_back(
        fmt::format("{}: /dev/shm has {} MiB free, {} are wanted; remount it larger (containers: --shm-size)", who,
                    r["shm_free"].get<uint64_t>() >> 20, small_shm(on_gpus) >> 20));
  if (int64_t files = r["limits"]["open files"]; files >= 0 && files < kFewFiles)
    found.push_back(fmt::format("{}: only {} open files are allowed; raise ulimit -n to {}", who, files, kFewFiles));
  if (r["huge_pages"] == "never")
    found.push_back(fmt::format("{}: transparent huge pages are off; 'madvise' reads memory 5 to 10 % faster", who));
  if (r["levels"].size() < 3)
    found.push_back(fmt::format("{}: this CPU has no AVX-512; kernels run at level {}", who,
                                r["levels"].back().get<std::string>()));
}

// Masks of the ranks of one host: more ranks than CPUs, or ranks bound to the same CPUs while others lie idle.
void check_masks(const std::string& host, const std::vector<const ordered_json*>& ranks,
                 std::vector<std::string>& found) {
  std::map<int, int> users;
  for (const ordered_json* r : ranks)
    for (int cpu : (*r)["cpus"].get<std::vector<int>>()) users[cpu]++;
  size_t machine_cpus = (*ranks[0])["machine_cpus"];
  if (ranks.size() > users.size())
    found.push_back(
        fmt::format("{}: {} ranks share {} CPUs; start at most one rank a CPU", host, ranks.size(), users.size()));
  bool overlap = false, whole = true;
  for (auto [cpu, count] : users) overlap |= count > 1;
  for (const ordered_json* r : ranks) whole &= (*r)["cpus"].size() == machine_cpus;
  if (overlap && !whole)
    found.push_back(fmt::format(
        "{}: several ranks are bound to the same CPUs; use mpirun --bind-to core --map-by slot:PE=N", host));
}

}  // namespace

std::string visible_gpu_list(const GpuProbe& probe, const Environment& environment) {
  std::string list;
  for (const Gpu& gpu : visible_gpus(probe.gpus, environment.find("CUDA_VISIBLE_DEVICES")))
    list += fmt::format("{}{}", list.empty() ? "" : ",", gpu.index);
  return list.empty() ? "none" : list;
}

ordered_json node_report(const Options& options, const Environment& environment) {
  const Host host = probe_host();
  const std::vector<int> allowed = allowed_cpus();
  ordered_json r;
  r["host"] = host.name;
  r["rank"] = environment.rank;
  r["ranks"] = environment.ranks;
  r["launcher"] = environment.launcher.empty() ? "none (bare)" : environment.launcher;
  r["cpus"] = allowed;
  r["numa_nodes"] = host.numa_of(allowed);
  r["machine_cpus"] = host.cpus.size();
  r["machine"] = host_text(host);
  r["gpus"] = visible_gpu_list(host.gpus, environment);
  r["cuda_missing"] = probe_cuda().missing;
  r["shm_free"] = host.shm_free_bytes;
  r["huge_pages"] = host.huge_pages;
  r["levels"] = available_levels();
  r["limits"] = {{"locked memory", limit_of(RLIMIT_MEMLOCK)},
                 {"open files", limit_of(RLIMIT_NOFILE)},
                 {"address space", limit_of(RLIMIT_AS)},
                 {"core files", limit_of(RLIMIT_CORE)}};
  for (auto& [name, version] : versions(options)) r["versions"][name] = version;
  r["versions"].erase("NCCL's file");  // it may lie elsewhere on another host
  r["versions"]["the GPU driver"] = host.gpus.driver.empty() ? "none" : host.gpus.driver;
  return r;
}

std::vector<std::string> findings(const std::vector<ordered_json>& reports, const Environment& environment) {
  std::vector<std::string> found;
  std::string mistake = launch_mistake(static_cast<int>(reports.size()),
                                       [&](const std::string& name) { return environment.value(name); });
  if (!mistake.empty()) found.push_back(mistake);
  std::map<std::string, std::vector<const ordered_json*>> hosts;
  for (const ordered_json& r : reports) hosts[r["host"]].push_back(&r);
  for (auto& [name, ranks] : hosts) {
    check_rank(*ranks[0], found);
    check_masks(name, ranks, found);
  }
  const ordered_json& first = reports[0];
  for (const ordered_json& r : reports)
    for (auto& [name, version] : r["versions"].items())
      if (version != first["versions"][name])
        found.push_back(fmt::format("rank {} on {} has {} {}, rank {} on {} has {}", r["rank"].get<int>(),
                                    r["host"].get<std::string>(), name, version.get<std::string>(),
                                    first["rank"].get<int>(), first["host"].get<std::string>(),
                                    first["versions"][name].get<std::string>()));
  return found;
}

}  // namespace trireme

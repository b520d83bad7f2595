#include "launch/node_report.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

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

// "0,1" as NVML counts; "none".
std::string gpu_list(const std::vector<Gpu>& gpus) {
  std::string list;
  for (const Gpu& gpu : gpus) list += fmt::format("{}{}", list.empty() ? "" : ",", gpu.index);
  return list.empty() ? "none" : list;
}

// Why this rank cannot use what it sees of the host's GPUs, or does not see it.
std::vector<std::string> gpu_faults(const std::vector<Gpu>& all, const std::vector<Gpu>& visible) {
  std::vector<std::string> faults;
  for (const Gpu& gpu : visible)
    if (const std::string why = gpu.architecture > 0 ? cuda_unfit(gpu.architecture) : ""; !why.empty())
      faults.push_back(
          fmt::format("GPU {} ({}, sm_{}) {}: --device cuda refuses it", gpu.index, gpu.name, gpu.architecture, why));
  for (const Gpu& gpu : all)
    if (gpu.mig && gpu.instances.empty())
      faults.push_back(fmt::format(
          "GPU {} ({}) is split by MIG and has no instance for this process, so CUDA does not show it; make "
          "one (nvidia-smi mig -i {} -cgi PROFILE -C), or end MIG (nvidia-smi -i {} -mig 0)",
          gpu.index, gpu.name, gpu.index, gpu.index));
  return faults;
}

// Of the ranks of one host: what their GPUs lack, once, and whether one process may keep others out.
void check_gpus(const std::string& host, const std::vector<const ordered_json*>& ranks,
                std::vector<std::string>& found) {
  std::set<std::string> faults, visible;
  bool exclusive = false;
  for (const ordered_json* r : ranks) {
    for (const ordered_json& fault : (*r)["gpu_faults"]) faults.insert(fault.get<std::string>());
    for (auto& [uuid, alone] : (*r)["visible_gpus"].items()) visible.insert(uuid), exclusive |= alone.get<bool>();
  }
  for (const std::string& fault : faults) found.push_back(fmt::format("{}: {}", host, fault));
  if (exclusive && ranks.size() > visible.size())
    found.push_back(
        fmt::format("{}: {} ranks share {} GPU{}, and exclusive mode lets in one process a GPU; start at most one rank "
                    "a GPU, or end the mode (nvidia-smi -c DEFAULT)",
                    host, ranks.size(), visible.size(), visible.size() == 1 ? "" : "s"));
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
  const std::vector<Gpu> visible = visible_gpus(host.gpus.gpus, environment.find("CUDA_VISIBLE_DEVICES"));
  r["gpus"] = gpu_list(visible);
  r["gpu_faults"] = gpu_faults(host.gpus.gpus, visible);
  r["visible_gpus"] = ordered_json::object();  // by UUID, whether in exclusive mode
  for (const Gpu& gpu : visible) r["visible_gpus"][gpu.uuid] = gpu.exclusive;
  r["cuda_missing"] = probe_cuda().missing;
  r["shm_free"] = host.shm_free_bytes;
  r["huge_pages"] = host.huge_pages;
  r["levels"] = available_levels();
  r["limits"] = {{"locked memory", limit_of(RLIMIT_MEMLOCK)},
                 {"open files", limit_of(RLIMIT_NOFILE)},
                 {"address space", limit_of(RLIMIT_AS)},
                 {"core files", limit_of(RLIMIT_CORE)}};
  for (auto& [name, version] : versions(options)) r["versions"][name] = version;
  r["versions"].erase("NCCL's file");   // it may lie elsewhere on another host
  r["versions"].erase("GPUs by CUDA");  // a rank may have others
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
    check_gpus(name, ranks, found);
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

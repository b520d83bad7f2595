#include "topology/machine.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "topology/control_group.h"
#include "topology/launch_check.h"
#include "topology/machine_json.h"
#include "topology/memory.h"
#include "topology/threads.h"

using namespace trireme;
namespace fs = std::filesystem;

namespace {

// Cores 0 ... cores-1 with `ways` hardware threads: id = core + way * cores, as Linux counts; two NUMA nodes.
std::vector<Cpu> cpus_of(int cores, int ways) {
  std::vector<Cpu> cpus;
  for (int i = 0; i < cores * ways; i++) cpus.push_back({i, i % cores, i % cores >= cores / 2, i % cores >= cores / 2});
  return cpus;
}

std::vector<ThreadPlan> alike(int ranks, const std::vector<Cpu>& mask, int wanted) {
  return assign_threads(std::vector<std::vector<Cpu>>(static_cast<size_t>(ranks), mask), wanted);
}

class Tree {  // files for probe_memory
 public:
  Tree() { fs::create_directories(root_); }
  ~Tree() { fs::remove_all(root_); }
  void file(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  Memory probe() const { return probe_memory(root_.string()); }
  double cpu_quota() const { return probe_cpu_quota(root_.string()); }

 private:
  fs::path root_ = fs::temp_directory_path() / ("trireme-memory-test-" + std::to_string(getpid()));
};

constexpr const char* kMemInfo = "MemTotal:       24000000 kB\nMemFree:        100 kB\nMemAvailable:   20000000 kB\n";

}  // namespace

TEST_CASE("ranks that share a mask get a part of its cores each, on neighbouring cores") {
  auto plans = alike(2, cpus_of(8, 2), 0);
  CHECK(plans[0] == ThreadPlan{4, {0, 1, 2, 3}});
  CHECK(plans[1] == ThreadPlan{4, {4, 5, 6, 7}});
  CHECK(alike(1, cpus_of(2, 1), 0)[0] == ThreadPlan{2, {0, 1}});
  CHECK(alike(3, cpus_of(8, 1), 0)[2] == ThreadPlan{2, {4, 5}});
}

TEST_CASE("more threads than cores use the hardware threads; more than those are not pinned") {
  CHECK(alike(2, cpus_of(2, 2), 2)[1] == ThreadPlan{2, {1, 3}});
  CHECK(alike(7, cpus_of(2, 1), 2)[3] == ThreadPlan{2, {}});
  CHECK(alike(7, cpus_of(2, 1), 0)[3] == ThreadPlan{1, {}});
  CHECK(alike(1, cpus_of(2, 1), 3)[0] == ThreadPlan{3, {}});
}

TEST_CASE("a launcher's own binding is kept") {
  auto all = cpus_of(4, 1);
  std::vector<std::vector<Cpu>> masks = {{all[0], all[1]}, {all[2]}, {all[3]}};
  auto plans = assign_threads(masks, 0);
  CHECK(plans[0] == ThreadPlan{2, {0, 1}});
  CHECK(plans[1] == ThreadPlan{1, {2}});
  CHECK(plans[2] == ThreadPlan{1, {3}});
}

TEST_CASE("memory is touched from the NUMA nodes of a rank's threads, whatever CPUs of theirs the mask has") {
  Machine machine = Machine::of({{{.cpus = cpus_of(8, 1)}, {.allowed = {0, 1, 2, 3, 4, 5, 6, 7}}},
                                 {{.cpus = cpus_of(8, 1)}, {.allowed = {0, 1, 2, 3, 4, 5, 6, 7}}}});
  CHECK(cpus_near(machine, 0, thread_plan(machine, 0, 2)) == std::vector<int>{0, 1, 2, 3});
  CHECK(cpus_near(machine, 1, thread_plan(machine, 1, 4)) == std::vector<int>{4, 5, 6, 7});
  CHECK(cpus_near(machine, 1, thread_plan(machine, 1, 3)) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(cpus_near(machine, 1, thread_plan(machine, 1, 5)).empty());  // more threads than CPUs: not pinned
}

TEST_CASE("masks that cross are counted on in part and not pinned") {
  auto all = cpus_of(4, 1);
  auto plans = assign_threads(std::vector<std::vector<Cpu>>{{all[0], all[1], all[2], all[3]}, {all[2], all[3]}}, 0);
  CHECK(plans[0] == ThreadPlan{2, {}});
  CHECK(plans[1] == ThreadPlan{1, {}});
}

TEST_CASE("ranks share the memory of the GPU that they compute on, and of no other") {
  auto rank = [](const char* boot, const char* gpu, int64_t free) {
    return RankProbe{{.boot_id = boot}, {.available_bytes = 9000, .gpu = gpu, .gpu_available_bytes = free}};
  };
  auto machine = Machine::of(
      {rank("x", "g1", 800), rank("x", "g2", 700), rank("x", "g1", 810), rank("y", "g1", 500), rank("y", "", 0)});
  CHECK(machine.sharing_memory_with(0) == std::vector<int>{0, 2});
  CHECK(machine.sharing_memory_with(3) == std::vector<int>{3});
  CHECK(machine.available_bytes(0) == 400);
  CHECK(machine.available_bytes(1) == 700);
  CHECK(machine.available_bytes(3) == 500);   // another host's g1 is another GPU
  CHECK(machine.available_bytes(4) == 9000);  // on the CPUs
}

TEST_CASE("a host has the GPUs that any of its ranks is shown") {
  auto rank = [](const char* boot, std::vector<Gpu> gpus) {
    return RankProbe{{.boot_id = boot, .gpus = {.gpus = std::move(gpus)}}, {}};
  };
  const Gpu first{.index = 0, .uuid = "g1", .pci = "a"}, second{.index = 0, .uuid = "g2", .pci = "b"};
  Machine machine = Machine::of({rank("x", {}), rank("x", {second}), rank("x", {first}), rank("y", {first})});
  REQUIRE(machine.hosts[0].gpus.gpus.size() == 2);
  CHECK(machine.hosts[0].find_gpu("g1")->index == 0);
  CHECK(machine.hosts[0].find_gpu("g2")->index == 1);
  CHECK(machine.hosts[1].gpus.gpus == std::vector<Gpu>{first});

  const auto instance_of = [](const char* uuid) {
    return Gpu{.uuid = "g1", .mig = true, .instances = {{.uuid = uuid, .memory_bytes = 9}}};
  };
  machine =
      Machine::of({rank("x", {instance_of("m1")}), rank("x", {instance_of("m2")}), rank("x", {instance_of("m1")})});
  REQUIRE(machine.hosts[0].gpus.gpus.size() == 1);
  CHECK(machine.hosts[0].gpus.gpus[0].instances.size() == 2);
  CHECK(machine.hosts[0].find_gpu("m2"));
}

TEST_CASE("hosts are told apart by their kernels, and share their memory equally") {
  auto rank = [](const char* host, const char* boot, int domain, int64_t free) {
    return RankProbe{{.name = host, .boot_id = boot, .cpus = cpus_of(4, 1), .memory_bytes = 2000},
                     {.host_name = host, .allowed = {0, 1, 2, 3}, .available_bytes = free, .domain = domain}};
  };
  auto machine = Machine::of(
      {rank("a", "x", 0, 900), rank("container", "x", 1, 930), rank("b", "y", 2, 500), rank("a", "x", 0, 960)});
  CHECK(machine.hosts.size() == 2);
  CHECK(machine.ranks_on(0) == std::vector<int>{0, 1, 3});
  CHECK(machine.available_bytes(3) == 300);
  CHECK(machine.available_bytes(2) == 500);
  CHECK(machine.text().find("host a = container: 3 ranks (0 1 3)") != std::string::npos);
  CHECK(machine.text().find("split into 2 parts") != std::string::npos);
  CHECK(thread_plan(machine, 3, 0) == ThreadPlan{1, {2}});
  CHECK(thread_plan(machine, 2, 0) == ThreadPlan{4, {0, 1, 2, 3}});
}

TEST_CASE("this machine can be probed, and a probe survives its journey") {
  const Machine machine = Machine::of({probe_rank(std::nullopt)});
  CHECK(!machine.hosts[0].name.empty());
  CHECK(!machine.hosts[0].cpus.empty());
  CHECK(!machine.ranks[0].allowed.empty());
  CHECK(machine.hosts[0].memory_bytes > 0);
  CHECK(machine.ranks[0].available_bytes <= static_cast<int64_t>(machine.hosts[0].memory_bytes));
  CHECK(machine_from_json(nlohmann::json::parse(machine_to_json(machine).dump()), "m.json") == machine);
}

TEST_CASE("a machine can be invented") {
  const Host host = invent_host("package:2 numa:1 core:8 pu:2");
  CHECK(host.cpus.size() == 32);
  CHECK(host.cpus.back().numa == 1);
  CHECK(host.cpus.back().package == 1);
  CHECK(alike(4, host.cpus, 0)[1].threads == 4);
}

TEST_CASE("memory: the host's without cgroups, the tightest cgroup's with them") {
  Tree tree;
  tree.file("proc/meminfo", kMemInfo);
  CHECK(tree.probe().total_bytes == 24000000ll << 10);
  CHECK(tree.probe().available_bytes == 20000000ll << 10);

  tree.file("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  tree.file("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
  tree.file("sys/fs/cgroup/slurm/job_7/memory.max", "8000000000\n");
  tree.file("sys/fs/cgroup/slurm/job_7/memory.current", "3000000000\n");
  tree.file("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 5\ninactive_file 1000000000\n");
  CHECK(tree.probe().machine_bytes == 24000000ll << 10);
  CHECK(tree.probe().total_bytes == 8000000000);
  CHECK(tree.probe().available_bytes == 6000000000);  // 1 GB of the used is file cache
}

TEST_CASE("CPU time: the tightest quota of the control groups, of either version") {
  Tree tree;
  CHECK(tree.cpu_quota() == 0);
  tree.file("proc/self/cgroup", "0::/docker/abc\n");
  tree.file("sys/fs/cgroup/docker/abc/cpu.max", "max 100000\n");
  CHECK(tree.cpu_quota() == 0);
  tree.file("sys/fs/cgroup/docker/cpu.max", "250000 100000\n");
  CHECK(tree.cpu_quota() == 2.5);
  tree.file("proc/self/cgroup", "4:cpu,cpuacct:/x\n");
  tree.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  tree.file("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000\n");
  tree.file("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
  CHECK(tree.cpu_quota() == 0.5);
}

TEST_CASE("memory: cgroup version 1, and a path that the container does not show") {
  Tree tree;
  tree.file("proc/meminfo", kMemInfo);
  tree.file("proc/self/cgroup", "3:cpuset:/\n5:memory:/docker/abc\n");
  tree.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n");
  tree.file("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000000\n");
  CHECK(tree.probe().total_bytes == 1000000000);
  CHECK(tree.probe().available_bytes == 600000000);
  tree.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(tree.probe().total_bytes == 24000000ll << 10);
}

TEST_CASE("a launcher that made worlds of one rank is recognized, and an honest single rank is not") {
  auto mistake = [](int world, std::map<std::string, std::string> variables) {
    return launch_mistake(world,
                          [=](const std::string& name) { return variables.contains(name) ? variables.at(name) : ""; });
  };
  auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(mistake(1, {}).empty());
  CHECK(mistake(4, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "4"}}).empty());
  CHECK(has(mistake(1, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "4"}}), "srun --mpi=pmix"));
  CHECK(has(mistake(1, {{"SLURM_NTASKS", "4"}}), "one process was started"));
  CHECK(mistake(1, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "1"}}).empty());
  CHECK(mistake(1, {{"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}}).empty());  // mpirun -n 1 in a larger job
  CHECK(has(mistake(1, {{"OMPI_COMM_WORLD_SIZE", "3"}}), "mpirun started 3 processes"));
  CHECK(has(mistake(1, {{"PMI_SIZE", "8"}}), "8 processes (PMI)"));
  CHECK(mistake(1, {{"SLURM_NTASKS", "many"}}).empty());
}

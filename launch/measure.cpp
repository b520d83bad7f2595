#include "launch/measure.h"

#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/thread_pool.h"
#include "comm/link_probe.h"
#include "launch/machine_file.h"
#include "launch/probe_limits.h"
#include "launch/together.h"
#include "topology/machine_json.h"
#include "topology/threads.h"

namespace trireme {

namespace {

constexpr int kAllPairsRanks = 8;
// A prefill chunk of activations; the mean of many, for this is asked for and may take its time.
constexpr ProbeEffort kEffort{.bytes = size_t{1} << 20, .round_trips = 500, .messages = 64, .samples = 1};

// What one rank reads with its threads.
double read_gbps(const Machine& machine, int rank) {
  const ThreadPlan plan = thread_plan(machine, rank, 0);
  ThreadPool pool(plan.threads, plan.cpus);
  return probe_read_gbps(pool);
}

std::vector<std::pair<int, int>> pairs_of(int ranks) {
  std::vector<std::pair<int, int>> pairs;
  for (int a = 0; a < ranks; a++)
    for (int b = a + 1; b < ranks; b++)
      if (ranks <= kAllPairsRanks || b == a + 1) pairs.emplace_back(a, b);
  return pairs;
}

void measure_memory(Machine& machine, Communicator& world) {
  double mine = 0;
  world.barrier();
  together(world, [&] { mine = read_gbps(machine, world.rank()); });
  const std::vector<std::vector<std::byte>> all = world.all_gather(std::as_bytes(std::span(&mine, 1)));
  for (Host& host : machine.hosts) host.read_gbps = 0;
  for (size_t r = 0; r < all.size(); r++) {
    double gbps = 0;
    std::memcpy(&gbps, all[r].data(), sizeof gbps);
    machine.hosts[static_cast<size_t>(machine.host_of[r])].read_gbps += gbps;
  }
}

// What tells one machine from another, and not one minute or boot from the next.
std::string fingerprint(Machine machine) {
  machine.measured_links.clear();
  for (Host& host : machine.hosts) {
    host.boot_id.clear();
    host.read_gbps = 0;
    host.memory_available_bytes = host.shm_free_bytes = 0;
    for (Gpu& gpu : host.gpus.gpus) gpu.free_bytes = 0;
  }
  for (Rank& rank : machine.ranks) rank.available_bytes = rank.gpu_available_bytes = 0;
  return hex16(xxh3(machine_to_json(machine).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

std::filesystem::path file_of(const Machine& machine, const Environment& environment) {
  return std::filesystem::path(environment.cache_folder) / ("measured-" + fingerprint(machine) + ".json");
}

}  // namespace

void measure_machine(Machine& machine, Communicator& world) {
  measure_memory(machine, world);
  const std::unique_ptr<Fabric> fabric = Fabric::create(world);
  machine.measured_links.clear();
  std::optional<LinkProbe> probe;
  for (auto [a, b] : pairs_of(world.size())) {
    world.barrier();
    probe.reset();
    std::byte figures[2 * sizeof(double)] = {};
    std::string transport;
    if (world.rank() == a || world.rank() == b) {
      probe.emplace(*fabric, world.rank(), world.rank() == a ? b : a, kEffort);
      const LinkFigures found = probe->through_host();
      const double measured[] = {found.latency_us, found.gbps};
      std::memcpy(figures, measured, sizeof figures);
      transport = probe->transport();
    }
    std::vector<std::byte> message(std::begin(figures), std::end(figures));
    for (char c : transport) message.push_back(static_cast<std::byte>(c));
    world.broadcast(message, a);
    double measured[2];
    std::memcpy(measured, message.data(), sizeof measured);
    const auto* name = reinterpret_cast<const char*>(message.data()) + sizeof measured;
    machine.measured_links.push_back(
        {a, b, measured[0], measured[1], std::string(name, message.size() - sizeof measured)});
  }
  world.barrier();
}

void measure_machine(Machine& machine) { machine.hosts.front().read_gbps = read_gbps(machine, 0); }

void keep_measured(const Machine& machine, const Environment& environment) {
  if (environment.cache_folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(environment.cache_folder, error);
  if (error)
    fail(ExitCode::cannot_create, "cannot create the cache folder {} ({})", environment.cache_folder, error.message());
  write_machine_file(machine, file_of(machine, environment).string());
}

void find_measured(Machine& machine, const Environment& environment, std::string& remark) {
  std::error_code missing;
  if (environment.cache_folder.empty() || !std::filesystem::exists(file_of(machine, environment), missing)) return;
  Machine kept;
  try {
    kept = read_machine_file(file_of(machine, environment).string());
  } catch (const Error& error) {  // it is only a help
    if (error.code() != ExitCode::bad_data) throw;
    remark = file_of(machine, environment).string() + " cannot be read; topology --measure writes it anew";
    return;
  }
  if (kept.hosts.size() != machine.hosts.size() || kept.size() != machine.size()) return;
  for (size_t h = 0; h < machine.hosts.size(); h++) machine.hosts[h].read_gbps = kept.hosts[h].read_gbps;
  machine.measured_links = kept.measured_links;
}

}  // namespace trireme

#include <doctest/doctest.h>

#include <set>

#include "model/shapes.h"
#include "plan/nearest_fit.h"
#include "plan/reasons.h"
#include "testkit/error_of.h"
#include "testkit/golden_machines.h"
#include "topology/machine_cluster.h"

using namespace trireme;
using testkit::contains;

// What a plan takes and what a run's placement allows are one rule.
namespace {

const EngineProfile kProfile = get_engine_profile("published");

struct Question {
  Cluster cluster;
  ModelWork model{"llama-3.1-8b", get_shape("llama-3.1-8b").config(), Precision::int4, 2, kProfile};
  PlanRequest request{.input_tokens = 256, .output_tokens = 64, .context = 320, .position = 288};

  explicit Question(Cluster cluster) : cluster(std::move(cluster)) {}
  explicit Question(const char* words) : Question(Cluster::parse(words)) {}
  PlanQuestion whole() const { return {model, cluster, kProfile, request, {}}; }
  Plan plan(Objective objective) {
    request.objective = objective;
    return plan_layouts(whole());
  }
};

const LayoutPlan* find(const Plan& plan, int tp, int pp) {
  for (const LayoutPlan& l : plan.layouts)
    if (l.tp == tp && l.pp == pp) return &l;
  return nullptr;
}

// The widths of TP that a run on these ranks takes by itself.
std::set<int> widths_of_run(const Machine& machine) {
  const ModelNeed small{.num_layers = 32, .max_tp = 32};
  std::set<int> widths;
  for (const Degrees& d : possible_layouts(machine, Links(machine, 0), small, {})) widths.insert(d.tp);
  return widths;
}

// Every layout of all ranks of the machine has such groups, and no other is chosen.
void check_widths(const Plan& plan, const Machine& machine) {
  const std::set<int> widths = widths_of_run(machine);
  for (const LayoutPlan& l : plan.layouts) {
    if (l.devices() != machine.size()) continue;
    CAPTURE(layout_name(l));
    CHECK(l.by_hand_only == !widths.contains(l.tp));
  }
  REQUIRE(plan.choice == 0);
  CHECK(!plan.layouts.front().by_hand_only);
}

// A host's cores in order of their place, shared out to `ranks` as a launcher binds them.
Machine bound(const Machine& machine, int ranks) {
  Machine on;
  for (int h = 0; h < std::ssize(machine.hosts); h++) {
    on.hosts.push_back(machine.hosts[static_cast<size_t>(h)]);
    std::vector<Cpu> cpus;
    for (int id : machine.ranks[static_cast<size_t>(machine.ranks_on(h).front())].allowed)
      cpus.push_back(*on.hosts.back().find_cpu(id));
    std::sort(cpus.begin(), cpus.end(),
              [](auto& a, auto& b) { return std::tie(a.numa, a.core) < std::tie(b.numa, b.core); });
    const size_t part = cpus.size() / static_cast<size_t>(ranks);
    for (int r = 0; r < ranks; r++) {
      Rank rank{.host_name = on.hosts.back().name, .available_bytes = int64_t{64} << 30, .domain = h * ranks};
      for (size_t i = 0; i < part; i++) rank.allowed.push_back(cpus[static_cast<size_t>(r) * part + i].id);
      std::sort(rank.allowed.begin(), rank.allowed.end());
      on.ranks.push_back(std::move(rank));
      on.host_of.push_back(h);
    }
  }
  return on;
}

bool one_rank_a_device(const Machine& machine, const Cluster& cluster) {
  std::set<std::pair<int, std::string>> devices;
  for (int r = 0; r < machine.size(); r++)
    devices.insert({machine.host_of[static_cast<size_t>(r)], machine.ranks[static_cast<size_t>(r)].gpu});
  return cluster.size() == machine.size() && std::ssize(devices) == machine.size();
}

}  // namespace

TEST_CASE("on golden machines of GPUs a plan takes the TP that a run there takes by itself") {
  int machines = 0;
  for (const auto& path : testkit::golden_files(TRIREME_GOLDEN_MACHINES)) {
    CAPTURE(path.stem().string());
    Machine machine = machine_from_json(testkit::read_golden(path)["machine"], path.stem());
    testkit::take_gpus(machine);
    for (Rank& rank : machine.ranks) rank.gpu_available_bytes = int64_t{1} << 40;
    Cluster cluster;
    if (!testkit::error_of([&] { cluster = cluster_of(machine); }).empty()) continue;  // no data sheet
    if (cluster.device.cpu || !one_rank_a_device(machine, cluster)) continue;
    for (Objective objective : {Objective::latency, Objective::throughput, Objective::cost})
      check_widths(Question(cluster).plan(objective), machine);
    machines++;
  }
  CHECK(machines >= 20);
}

TEST_CASE("on golden machines of CPUs a plan's ranks, bound to their parts, are placed so by a run") {
  int machines = 0;
  for (const auto& path : testkit::golden_files(TRIREME_GOLDEN_MACHINES)) {
    const std::string name = path.stem();
    CAPTURE(name);
    const Machine machine = machine_from_json(testkit::read_golden(path)["machine"], name);
    Cluster cluster;
    if (!testkit::error_of([&] { cluster = cluster_of(machine); }).empty() || !cluster.device.cpu) continue;
    Machine alone = machine;  // a rank a host, with all its CPUs
    alone.ranks.clear(), alone.host_of.clear();
    for (int h = 0; h < std::ssize(machine.hosts); h++) {
      Rank rank{.available_bytes = int64_t{64} << 30, .domain = h};
      for (const Cpu& cpu : machine.hosts[static_cast<size_t>(h)].cpus) rank.allowed.push_back(cpu.id);
      alone.ranks.push_back(std::move(rank)), alone.host_of.push_back(h);
    }
    const Cluster whole = cluster_of(alone);
    if (!std::ranges::all_of(alone.hosts, [&](const Host& host) {  // else they are not all used, or hyperthreads
          return host.cores() == whole.cores && std::ssize(host.cpus) == whole.cores;
        }))
      continue;
    const Plan plan = Question(whole).plan(Objective::latency);
    for (int ranks = 1; ranks <= whole.cores; ranks++)
      if (whole.cores % ranks == 0) check_widths(plan, bound(alone, ranks));
    machines++;
  }
  CHECK(machines >= 8);
}

TEST_CASE("described machines: TP stays inside sockets, on cards without peer access there is none") {
  for (auto [words, widest] : {std::pair{"8 l40s", 4},
                               {"2 xeon-6980p", 1},
                               {"4 rtx-4090", 1},
                               {"2 l40s", 1},
                               {"8 h100", 8},
                               {"4 h100-nvl", 2},
                               {"2 hosts x 8 h100", 8},
                               {"18 hosts x 4 gb200", 72},
                               {"8 hosts x 1 raspberry-pi-5", 1}}) {
    CAPTURE(words);
    const Cluster c = Cluster::parse(words);
    for (int tp = 1; tp <= c.size(); tp++)
      if (c.size() % tp == 0) CHECK(is_slow(c.slowest_group_link(tp, c.size() / tp)) == (widest % tp != 0));
  }
  CHECK(Cluster::parse("8 l40s").slowest_group_link(8, 1) == LinkClass::sockets);
  CHECK(Cluster::parse("2 rtx-4090").slowest_group_link(2, 1) == LinkClass::sockets);
  CHECK(Cluster::parse("4 rtx-4090").slowest_group_link(2, 2) == LinkClass::staged);
  CHECK(Cluster::parse("2 hosts x 8 h100").slowest_group_link(16, 1) == LinkClass::network);
  CHECK(!is_slow(Cluster::parse("8 h100").slowest_group_link(3, 2)));
  CHECK(!is_slow(Cluster::parse("8 l40s").slowest_group_link(3, 1)));
  CHECK(Cluster::parse("8 l40s").slowest_group_link(3, 2) == LinkClass::sockets);
  CHECK(Cluster::parse("2 hosts x 8 h100").slowest_group_link(3, 4) == LinkClass::network);
  CHECK(Cluster::parse("4 h100").with_devices(8).slowest_group_link(8, 1) == LinkClass::nvswitch);
}

TEST_CASE("a group over slow links is not taken, and the reason says what would refuse it") {
  Question q("8 l40s");
  const Plan plan = q.plan(Objective::latency);
  CHECK(plan.layouts.front().tp <= 4);
  const std::string reason = find(plan, 8, 1)->reason;
  CHECK(contains(reason, "TP 8 reaches over sockets: run refuses it without --allow-slow-placement; "));
  Question hosts("2 hosts x 1 l4, 1 ib400");
  CHECK(contains(find(hosts.plan(Objective::latency), 2, 1)->reason,
                 "TP 2 reaches over the network, which run does by --tp 2 alone; "));
}

TEST_CASE("one that is asked for by hand is planned, and says so") {
  Question q("8 l40s");
  q.request.degrees = {8, 1, 1};
  const Plan plan = q.plan(Objective::latency);
  REQUIRE(plan.choice == 0);
  CHECK(contains(plan.layouts.front().reason,
                 "; TP 8 reaches over sockets: run takes it with --allow-slow-placement alone"));
}

TEST_CASE("where only slow groups would do, that is what would fit") {
  Question q("2 xeon-6980p");
  const Plan free = q.plan(Objective::latency);
  const LayoutPlan *one = find(free, 1, 1), *wide = find(free, 2, 1);
  REQUIRE(wide->performance.decode_ms < one->performance.decode_ms);
  q.request.slo_tpot_ms = (wide->performance.decode_ms + one->performance.decode_ms) / 2;
  const Plan plan = q.plan(Objective::latency);
  CHECK(plan.choice == -1);
  CHECK(contains(plan.layouts.front().reason, "TP 2 reaches over sockets: run refuses it"));
  CHECK(nearest_fit(plan, q.whole()).starts_with("--tp 2 with TP 2"));
}

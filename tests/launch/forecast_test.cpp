#include "launch/forecast.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "kernels/select.h"
#include "launch/calibration_file.h"
#include "model/shapes.h"
#include "model/synthetic_weights.h"
#include "testkit/error_of.h"
#include "testkit/temp_folder.h"
#include "topology/invent.h"

using namespace trireme;
using testkit::contains;

namespace {

// A cache folder of its own, in which nobody has calibrated anything yet.
struct CacheFolder {
  testkit::TempFolder folder;
  CacheFolder() { ::setenv("XDG_CACHE_HOME", folder.path().c_str(), 1); }
  ~CacheFolder() { ::unsetenv("XDG_CACHE_HOME"); }
};

std::string level() { return std::string(available_levels().back()); }

// One host of eight cores, by as many ranks, which see its GPUs if it has some.
Machine machine_of(const char* description, int ranks = 8) {
  Machine machine = invent_machine(description);
  Rank rank = machine.ranks.front();
  rank.available_bytes = int64_t{8} << 30;
  machine.ranks.assign(static_cast<size_t>(ranks), rank);
  machine.host_of.assign(static_cast<size_t>(ranks), 0);
  return machine;
}

void calibrate(const Machine& machine, double cores) {
  HostCosts costs{.cores = cores, .read_bytes_per_s = 1e11, .reduce_us = 1, .reduce_bytes_per_s = 1e10};
  costs.whole.layers[static_cast<size_t>(Precision::bf16)] = {{1e6, {{1, 64}, {0.02, 0.2}}}};
  write_calibration(machine.hosts.front(), level(), costs);
}

struct Question {
  SyntheticWeights source{"m", get_shape("smollm2-135m").config(), WeightChoice::bf16};
  ModelConfig config = get_shape("smollm2-135m").config();
  Options options;
  Demand demand{.documents = 1000};
  std::string remark;
  Question() {
    options.level = "auto", options.numerics = "standard";
    options.max_seqs = 16, options.max_step_tokens = 256;
  }
  std::optional<Forecast> forecast(const Machine& machine) {
    remark.clear();
    return Forecast::make(source, config, machine, options, demand, remark);
  }
};

}  // namespace

TEST_CASE("CPUs that nobody calibrated: a choice all the same, called a guess") {
  const CacheFolder cache;
  Question q;
  const auto forecast = q.forecast(machine_of("package:1 core:8 pu:1"));
  REQUIRE(forecast);
  CHECK(q.remark.empty());
  CHECK(!forecast->measured());
  std::string why;
  const Degrees choices[] = {{8, 1, 1}, {1, 1, 8}};
  CHECK(forecast->choose(choices, why) < 2);
  CHECK(contains(why, "of 2 that fit (next tp "));
  CHECK(contains(why, "a guess, until `trireme bench --calibrate`"));
}

TEST_CASE("calibrated CPUs: many documents take replicas, one takes a group, and steps are foretold") {
  const CacheFolder cache;
  const Machine machine = machine_of("package:1 core:8 pu:1");
  calibrate(machine, 8);
  Question q;
  const Degrees choices[] = {{8, 1, 1}, {1, 1, 8}};
  std::string why;
  CHECK(q.forecast(machine)->choose(choices, why) == 1);
  CHECK(!contains(why, "guess"));
  q.demand.documents = 1;
  CHECK(q.forecast(machine)->choose(choices, why) == 0);

  const auto forecast = q.forecast(machine);
  CHECK(forecast->measured());
  const Pace::Phase one{.seconds = 1, .rows = 10, .positions = 10 * 50.0, .in_flight = 1};
  const Pace::Phase many{.seconds = 1, .rows = 160, .positions = 160 * 50.0, .in_flight = 16, .stretches = 1};
  CHECK(forecast->decode_ms({8, 1, 1}, one) > 0);
  CHECK(forecast->decode_ms({8, 1, 1}, many) > forecast->decode_ms({8, 1, 1}, one));
  CHECK(forecast->prefill_ms({8, 1, 1}, many) < forecast->decode_ms({8, 1, 1}, one));  // a row of many beside one alone
}

TEST_CASE("what the planner does not model is not called measured") {
  const CacheFolder cache;
  const Machine machine = machine_of("package:1 core:8 pu:1");
  calibrate(machine, 8);
  Question q;
  q.options.numerics = "exact";
  CHECK(!q.forecast(machine)->measured());
  std::string why;
  const Degrees shapes[] = {{8, 1, 1}, {1, 1, 8}};
  q.forecast(machine)->choose(shapes, why);
  CHECK(contains(why, "a guess, as if --numerics exact were standard"));
  CHECK(!contains(why, "calibrate"));
  q.options.numerics = "standard";
  q.options.level = "reference";  // another level's calibration
  CHECK(!q.forecast(machine)->measured());
}

TEST_CASE("stages that are dealt by hand are planned as they are") {
  const CacheFolder cache;
  const Machine machine = machine_of("package:1 core:8 pu:1");
  calibrate(machine, 8);
  Question q;
  const Pace::Phase two{.seconds = 1, .rows = 200, .positions = 200, .in_flight = 2};
  const auto decode_ms = [&](std::vector<int64_t> split) {
    q.options.stage_split = std::move(split);
    return q.forecast(machine)->decode_ms({1, 2, 1}, two);
  };
  CHECK(decode_ms({15, 15}) == decode_ms({}));
  CHECK(decode_ms({17, 13}) < decode_ms({}));  // the last stage has the head, too
  CHECK(decode_ms({10, 20}) > decode_ms({}));
}

TEST_CASE("a calibration of fewer cores than ranks may use does not count, one of more does") {
  const CacheFolder cache;
  const Machine machine = machine_of("package:1 core:8 pu:1");
  Question q;
  calibrate(machine, 4);
  CHECK(!q.forecast(machine)->measured());
  CHECK(q.remark == "4 of 8 cores are calibrated");
  calibrate(machine, 16);
  CHECK(q.forecast(machine)->measured());
}

TEST_CASE("a file that is no calibration is a remark, no end") {
  const CacheFolder cache;
  const Machine machine = machine_of("package:1 core:8 pu:1");
  calibrate(machine, 8);
  std::ofstream(calibration_path(machine.hosts.front(), level())) << "{\"half\": ";
  Question q;
  const auto forecast = q.forecast(machine);
  REQUIRE(forecast);
  CHECK(!forecast->measured());
  CHECK(contains(q.remark, "calibration-"));
}

TEST_CASE("ranks that compute on CPUs are planned so, whatever GPUs they see") {
  const CacheFolder cache;
  Machine machine = machine_of("1 host x 8 h100 nvswitch");
  for (Rank& rank : machine.ranks) {
    rank.gpu.clear();
    for (const Gpu& gpu : machine.hosts.front().gpus.gpus) rank.visible_gpus.push_back(gpu.uuid);
  }
  Question q;
  REQUIRE(q.forecast(machine));
  CHECK(!q.forecast(machine)->measured());  // no data sheet of GPUs stands for these CPUs
  for (Gpu& gpu : machine.hosts.front().gpus.gpus) gpu.name = "Unheard-of 1";
  CHECK(q.forecast(machine));
  CHECK(q.remark.empty());
}

TEST_CASE("GPUs without a data sheet: no forecast, and the remark names them") {
  const CacheFolder cache;
  Machine machine = machine_of("1 host x 8 h100 nvswitch");
  for (size_t r = 0; r < machine.ranks.size(); r++) {
    machine.ranks[r].gpu = machine.hosts.front().gpus.gpus[r].uuid;
    machine.ranks[r].visible_gpus = {machine.ranks[r].gpu};
    machine.ranks[r].gpu_available_bytes = int64_t{80} << 30;
  }
  Question q;
  REQUIRE(q.forecast(machine));
  CHECK(!q.forecast(machine)->measured());
  std::string why;
  const Degrees shapes[] = {{8, 1, 1}, {1, 1, 8}};
  q.forecast(machine)->choose(shapes, why);
  CHECK(contains(why, "a guess by the data sheet of these GPUs"));
  CHECK(!contains(why, "CPUs"));
  for (Gpu& gpu : machine.hosts.front().gpus.gpus) gpu.name = "Unheard-of 1";
  CHECK(!q.forecast(machine));
  CHECK(contains(q.remark, "Unheard-of 1"));
}

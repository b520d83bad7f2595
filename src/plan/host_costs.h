#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "plan/precision.h"
#include "topology/device_sheet.h"

namespace trireme {

// What the steps of a rank take on the CPUs that it has.
struct StepCosts {
  // By how many rows a step has. Between measured numbers of rows the time of a step is linear.
  struct Curve {
    std::vector<double> rows;              // ascending, from 1
    std::vector<double> ns_per_parameter;  // [rows] of one step
    double at(double rows) const;
  };
  // Whole layers of one size, all but attention's positions.
  struct Layers {
    double parameters = 0;  // of a layer
    Curve curve;
  };
  std::vector<Layers> layers[kPrecisions];  // by ascending size; empty: not measured
  // A position for one value of one query head, and one KV head, of a decode row: where key and value come from memory,
  // and from a cache.
  double attend_ns = 0, kv_ns = 0, cached_attend_ns = 0, cached_kv_ns = 0;
  double attend_prompt_ns = 0;  // for one value of one query head of a prompt's rows, which share what they read
  double step_us = 0, sequence_us = 0;  // as EngineProfile has them

  bool empty() const;
  // Nanoseconds of a layer of so many parameters, or a head, over `rows`: of the nearest precision that was measured.
  // A parameter takes longer in small layers, for threads meet as often: between two measured sizes geometric, by the
  // logarithm of the size; layers below all of them take as long as the smallest.
  // One size alone stands for all, parameter by parameter.
  double layer_ns(Precision precision, double parameters, double rows) const;

 private:
  const std::vector<Layers>& nearest(Precision precision) const;
};

// What this engine's steps take on the CPUs of one host, all at work where nothing else is said: measured by `trireme
// bench --calibrate` (launch/calibrate.h), in place of shares of a data sheet.
struct HostCosts {
  double cores = 0;               // that took part
  double read_bytes_per_s = 0;    // streaming reads, all cores
  double cached_bytes = 0;        // of keys and values that stay in caches from one step to the next
  double reduce_us = 0;           // of an all-reduce or a hop through shared memory
  double reduce_bytes_per_s = 0;  // and of its bytes from each other rank
  StepCosts whole;                // of one rank that has all cores
  StepCosts core;                 // of a rank that has one, beside others on all other cores; empty: not measured
  StepCosts lone;                 // of the same while the others wait; measured where `core` is

  // Of a rank that has this share of the cores, the others being at work, too: between the two that were measured
  // geometric, by the logarithm of the cores. Where one was measured alone, a part of the cores takes as many times
  // longer.
  StepCosts of(double share) const;
  // The same while the others wait; where that was not measured, as if they were at work.
  StepCosts lone_of(double share) const;

  // What was measured in place of a data sheet's rates of all these CPUs, for bounds: the most that any step reached.
  void set_rates(DeviceSheet& device) const;

  // Throws Error(bad_data) naming the field.
  static HostCosts parse(const nlohmann::json& json, const std::string& source);
  nlohmann::ordered_json to_json() const;

 private:
  // one: of a rank that has one core.
  StepCosts between_cores(const StepCosts& one, double share) const;
};

}  // namespace trireme

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "plan/precision.h"
#include "topology/device_sheet.h"

namespace trireme {

// What the steps of a rank take on the CPUs that it has.
struct StepCosts {
  // Of products, by how many rows a step has. Between measured numbers of rows the time of a step is linear.
  struct Curve {
    std::vector<double> rows;              // ascending, from 1
    std::vector<double> ns_per_parameter;  // [rows] of one step
    double at(double rows) const;
    bool empty() const { return rows.empty(); }
  };
  Curve products[kPrecisions];  // empty: not measured
  double value_ns = 0;          // a row's value in a layer (hidden and intermediate ones) outside of products
  double attend_ns = 0;         // a position for one value of one query head, of a decode row
  double kv_ns = 0;             // and for one value of one KV head, where key and value are not in a cache
  double attend_prompt_ns = 0;  // the same of a prompt's rows, which share what they read
  double layer_us = 0, step_us = 0, sequence_us = 0;  // as EngineProfile has them

  bool empty() const;
  // The nearest precision that was measured.
  const Curve& curve(Precision precision) const;

  // Of times that were taken of the same steps.
  static StepCosts mean_of(std::span<const StepCosts> rounds);
};

// What this engine's steps take on the CPUs of one host, all at work: measured by `trireme bench --calibrate`
// (launch/calibrate.h), in place of shares of a data sheet.
struct HostCosts {
  double cores = 0;               // that took part
  double lone_core = 1;           // speed of one core while the others rest, of its speed while they work
  double read_bytes_per_s = 0;    // streaming reads, all cores
  double cached_bytes = 0;        // of keys and values that stay in caches from one step to the next
  double reduce_us = 0;           // of an all-reduce or a hop through shared memory
  double reduce_bytes_per_s = 0;  // and of its bytes from each other rank
  StepCosts whole;                // of one rank that has all cores
  StepCosts core;                 // of a rank that has one, beside others on all other cores; empty: not measured

  // Of a rank that has this share of the cores, the others being at work, too: between the two that were measured
  // geometric, by the logarithm of the cores. Where one was measured alone, a part of the cores takes as many times
  // longer.
  StepCosts of(double share) const;

  // What was measured in place of a data sheet's rates of all these CPUs, for bounds: the most that any step reached.
  void set_rates(DeviceSheet& device) const;

  // Throws Error(bad_data) naming the field.
  static HostCosts parse(const nlohmann::json& json, const std::string& source);
  nlohmann::ordered_json to_json() const;
};

}  // namespace trireme

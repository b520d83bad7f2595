#include "plan/bound.h"

#include <algorithm>

#include "plan/collectives.h"

namespace trireme {

namespace {

void add_motion(LatencyBound& bound, const ModelWork& model, const Cluster& cluster, int tp, int pp, double row_bytes) {
  const double reduce_us = best_all_reduce_us(cluster, GroupPlace::of(cluster, tp), row_bytes);
  bound.reduce_ms = 2 * model.config().num_layers * reduce_us * 1e-3;
  bound.hop_ms = (pp - 1) * hop_us(cluster, tp, row_bytes) * 1e-3;
}

}  // namespace

double LatencyBound::total_ms() const { return std::max(memory_ms, arithmetic_ms) + reduce_ms + hop_ms; }

Precision arithmetic_of(const DeviceSheet& device, Precision precision) {
  const bool integers = precision == Precision::int8 || precision == Precision::int4;
  if (precision == Precision::fp8 && device.fp8_flops > device.bf16_flops) return Precision::fp8;
  if (precision == Precision::fp4 && device.fp4_flops > device.bf16_flops) return Precision::fp4;
  if (integers && device.cpu && device.int8_ops > device.bf16_flops) return Precision::int8;
  return Precision::bf16;
}

double peak_flops(const DeviceSheet& device, Precision precision) {
  switch (arithmetic_of(device, precision)) {
    case Precision::fp8:
      return device.fp8_flops;
    case Precision::fp4:
      return device.fp4_flops;
    case Precision::int8:
      return device.int8_ops;
    case Precision::bf16:
    case Precision::int4:
      break;
  }
  return device.bf16_flops;
}

LatencyBound decode_bound(const ModelWork& model, const Cluster& cluster, int tp, int pp, double sequences,
                          double context, double sum_bytes) {
  const ModelConfig& c = model.config();
  // A stage on a part of a host may have the memory of those parts whose stages wait for it.
  const double rate = cluster.device.memory_bytes_per_s * std::min<double>(pp, 1 / cluster.device.share);
  const double read = model.read_parameters() * model.read_share(sequences) * model.bits() / 8 / tp;
  const double position = c.num_layers * model.position_bytes(c.num_kv_heads) / std::min(tp, c.num_kv_heads);
  LatencyBound bound;
  bound.memory_ms = (read + sequences * model.seen_positions(context) * position) / rate * 1e3;
  bound.arithmetic_ms = 2 * model.read_parameters() * model.used_share() * sequences /
                        (tp * peak_flops(cluster.device, model.precision())) * 1e3;
  const double row_bytes = sequences * static_cast<double>(c.hidden_size) * sum_bytes;
  add_motion(bound, model, cluster, tp, pp, row_bytes);
  return bound;
}

LatencyBound prefill_bound(const ModelWork& model, const Cluster& cluster, int tp, int pp, double tokens,
                           double sum_bytes) {
  const ModelConfig& c = model.config();
  const double width = static_cast<double>(c.num_heads) * c.head_dim;
  const double attention = 4 * tokens * model.seen_in_prompt(tokens) * width * c.num_layers;
  LatencyBound bound;
  bound.arithmetic_ms = (2 * model.parameters() * model.used_share() * tokens + attention) /
                        (tp * peak_flops(cluster.device, model.precision())) * 1e3;
  add_motion(bound, model, cluster, tp, pp, tokens * static_cast<double>(c.hidden_size) * sum_bytes);
  return bound;
}

}  // namespace trireme

#pragma once

#include "plan/engine_profile.h"
#include "plan/model_work.h"
#include "topology/cluster.h"

namespace trireme {

// What no engine can beat: a roofline of the data sheet, and the fastest all-reduces that were measured. With t TP
// ranks, p stages, B sequences at position S, W parameters read (all but the embedding's rows), P of them used, b bytes
// each:
//   decode >= max[(W b / t + B S KV / min(t, KV heads)) / BW, 2 P B / (t FLOP/s)] + 2 L T_ar(t, B H) + (p - 1) hops
//   prefill >= (2 P N + 2 N^2 H L) / (t FLOP/s) + 2 L T_ar(t, N H) + (p - 1) hops
// N^2: causal attention, where no layer has a window. The stages of a pipeline work one after the other for one token,
// so p divides neither.
struct LatencyBound {
  double memory_ms = 0;  // decode alone
  double arithmetic_ms = 0;
  double reduce_ms = 0;
  double hop_ms = 0;
  double total_ms() const;
};
// sum_bytes: of an element of a partial sum.
LatencyBound decode_bound(const ModelWork& model, const Cluster& cluster, int tp, int pp, double sequences,
                          double context, double sum_bytes);
LatencyBound prefill_bound(const ModelWork& model, const Cluster& cluster, int tp, int pp, double tokens,
                           double sum_bytes);

// What a device multiplies weights of a precision in: BF16 where it has no units for them. On GPUs integers are a
// format of weights alone; CPUs multiply them as they are.
Precision arithmetic_of(const DeviceSheet& device, Precision precision);
// Dense operations a second in that.
double peak_flops(const DeviceSheet& device, Precision precision);

}  // namespace trireme

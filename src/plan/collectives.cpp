#include "plan/collectives.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

namespace trireme {

namespace {

constexpr double kKi = 1024, kMi = 1024 * 1024;

// Messages of the measured curves, and beyond the last one bytes over `gbps`.
constexpr std::array kSizes = {8 * kKi, 16 * kKi, 64 * kKi, 256 * kKi, 1 * kMi, 8 * kMi, 32 * kMi, 64 * kMi};
struct Curve {
  int ranks;
  std::array<double, kSizes.size()> us;
  double gbps;  // 10^9 bytes of message a second
};
struct Measured {
  const char* family;  // DeviceSheet::family
  std::array<Curve, 3> curves;
};

// Graph-launched, in place, BF16, one NVSwitch. To 8 MiB: H100 SGLang 0.5.14's, A100 vLLM 0.14's, B200 TensorRT-LLM
// 1.3's custom all-reduce; above NCCL (2.29, A100 2.27): ai-dynamo/aiconfigurator systems/data/*/comm @095f58a5. Of the
// B200 above 8 MiB only TP 8 at 32 MiB was measured; the others follow from the bandwidth of large messages.
constexpr Measured kMeasured[] = {
    {"a100",
     {{{2, {5.29, 5.34, 5.50, 6.57, 10.70, 89.68, 174.8, 349.5}, 192},
       {4, {5.53, 6.00, 6.57, 9.91, 18.34, 117.96, 236.3, 472.6}, 142},
       {8, {6.32, 6.54, 8.43, 17.13, 21.71, 129.01, 266.3, 532.6}, 126}}}},
    {"h100",
     {{{2, {2.56, 2.69, 2.96, 3.71, 5.89, 29.36, 138, 219.3}, 306},
       {4, {2.82, 2.91, 3.53, 5.45, 11.13, 44.53, 175, 294.3}, 228},
       {8, {3.55, 3.75, 4.81, 9.36, 13.47, 62.93, 198, 252.3}, 266}}}},
    {"b200",
     {{{2, {4.82, 5.16, 5.08, 5.15, 6.17, 21.26, 65.5, 131.1}, 512},
       {4, {5.25, 5.51, 5.44, 5.78, 9.71, 46.38, 77.1, 154.3}, 435},
       {8, {5.60, 5.91, 5.90, 7.61, 17.52, 54.63, 146, 169.0}, 397}}}},
};

// Linear between the measured sizes, as latency + bytes / bandwidth is.
double on_curve(const Curve& c, double bytes) {
  if (bytes <= kSizes.front()) return c.us.front();
  if (bytes >= kSizes.back()) return std::max(c.us.back(), bytes / c.gbps * 1e-3);
  const size_t i = static_cast<size_t>(std::upper_bound(kSizes.begin(), kSizes.end(), bytes) - kSizes.begin());
  const double part = (bytes - kSizes[i - 1]) / (kSizes[i] - kSizes[i - 1]);
  return c.us[i - 1] + part * (c.us[i] - c.us[i - 1]);
}

// Between the measured widths linear in the ranks; above them as from 4 to 8.
double measured_us(const Measured& m, int ranks, double bytes) {
  const Curve *low = &m.curves[0], *high = &m.curves[1];
  if (ranks > m.curves[1].ranks) low = &m.curves[1], high = &m.curves[2];
  const double part = static_cast<double>(ranks - low->ranks) / (high->ranks - low->ranks);
  const double a = on_curve(*low, bytes), b = on_curve(*high, bytes);
  return std::max(0.5 * a, a + part * (b - a));
}

// Two algorithms, of which the faster counts: every rank reads all others' message (one-shot), or its slice of them and
// then all slices (two-shot, also a ring). latency_us: of a step; bytes_per_s: of a rank's link, one direction.
double shot_us(int ranks, double bytes, double latency_us, double bytes_per_s) {
  const double others = ranks - 1;
  const double one = latency_us + others * bytes / bytes_per_s * 1e6;
  const double two = 2 * latency_us + 2 * others / ranks * bytes / bytes_per_s * 1e6;
  return std::min(one, two);
}

// A ring's latency grows with its steps: NCCL's tuning model (src/graph/tuning.cc) counts 6.6 us and, a step, 0.6 us by
// NVLink and about 1.0 us through the host's memory.
double ring_us(int ranks, double bytes, double base_us, double step_us, double bytes_per_s) {
  const double steps = 2.0 * (ranks - 1);
  return base_us + steps * step_us + steps / ranks * bytes / bytes_per_s * 1e6;
}

constexpr double kOneShotUs = 2.5;    // one-shot all-reduce on NVLink, H100 (fit to SGLang's curve)
constexpr double kNvlinkShare = 0.6;  // of the link's rate that all-reduces reach: 266 of 450 GB/s
constexpr double kPcieShare = 0.6;    // of PCIe's, ring through host bridges
constexpr double kSocketUs = 1.5;     // through shared memory of one host

// Inside one host, or one NVSwitch fabric over several.
double inside_us(const Cluster& c, int ranks, double bytes, bool best) {
  if (ranks <= 1) return 0;
  const bool switched = c.link == Link::nvswitch, paired = c.link == Link::nvlink_pairs && ranks <= c.fast_domain();
  if (switched || paired) {
    const double part = paired ? (ranks - 1.0) / (c.fast_domain() - 1) : 1;  // bridges go to each of the others
    const double shot = shot_us(ranks, bytes, kOneShotUs, part * c.device.nvlink_bytes_per_s * kNvlinkShare);
    for (const Measured& m : kMeasured)  // a bridge is no faster than a switch
      if (c.device.family == m.family) return std::max(measured_us(m, ranks, bytes), paired ? shot : 0);
    return shot;
  }
  if (c.link == Link::sockets)
    return shot_us(ranks, bytes, kSocketUs, std::max(c.device.pcie_bytes_per_s, 1e9) * kPcieShare);
  const double rate = c.device.pcie_bytes_per_s * kPcieShare;
  return best ? shot_us(ranks, bytes, 2 * kOneShotUs, c.device.pcie_bytes_per_s)
              : ring_us(ranks, bytes, 6.6, 2.0, rate);
}

// Of an all-reduce; for each host beside the first; for each pair of hosts.
struct NetworkCost {
  double base_us = 0, step_us = 0, pair_us = 0;
};

// InfiniBand: MSCCL++ over two hosts takes 15.1 us (H100) and 18.4 us (A100) for 8 KiB on 16 GPUs (its CI targets,
// best), of which about 5 inside the host; NCCL's hop costs 14 us by its tuning model (usual: two of them and its
// base). TCP: distributed-llama's README has 0.12 and 0.2 ms for 2 and 4 hosts of a cloud (GCP c3d), and on Raspberry
// Pis 0.5, 0.9 and 6 ms for 2, 4 and 8 (means of its 7B and 13B), as if every pair of them had a message of its own.
NetworkCost network_cost(const Nic& nic, bool best) {
  if (nic.kind != Nic::Kind::ethernet) return best ? NetworkCost{6, 4} : NetworkCost{12, 14};
  const double share = best ? 0.25 : 1;
  if (nic.gbit_per_s > 2.5) return {60 * share, 60 * share, 0};
  return {0, 0, 90 * share};
}

double across_us(const Cluster& c, const GroupPlace& g, double bytes, bool best) {
  const NetworkCost cost = network_cost(c.nic, best);
  const double rate = std::max(c.network_bytes_per_s(), 1.0);  // of a host: all its ranks send a slice at once
  const double others = g.hosts - 1;
  const double wire_us = 2 * others / g.hosts * bytes / rate * 1e6;
  return cost.base_us + others * (cost.step_us + g.hosts * cost.pair_us) + wire_us;
}

double all_reduce_us(const Cluster& c, const GroupPlace& g, double bytes, bool best) {
  if (g.size <= 1) return 0;
  if (g.hosts == 1 || c.fast_domain() >= g.size) return inside_us(c, g.size, bytes, best);
  return inside_us(c, g.per_host(), bytes, best) + across_us(c, g, bytes, best);
}

}  // namespace

GroupPlace GroupPlace::of(const Cluster& cluster, int size) {
  return {size, (size + cluster.devices - 1) / cluster.devices};
}

double best_all_reduce_us(const Cluster& cluster, const GroupPlace& group, double bytes) {
  return all_reduce_us(cluster, group, bytes, true);
}

double usual_all_reduce_us(const Cluster& cluster, const GroupPlace& group, double bytes) {
  return all_reduce_us(cluster, group, bytes, false);
}

double hop_us(const Cluster& c, int stride, double bytes) {
  const bool stays = stride < c.devices || c.fast_domain() > stride;
  if (!stays) {
    const NetworkCost cost = network_cost(c.nic, true);
    // Every rank of a stage sends its slice, and the next stage's ranks gather it.
    return cost.base_us + cost.step_us + cost.pair_us + bytes / std::max(c.network_bytes_per_s(), 1.0) * 1e6;
  }
  const bool nvlink = c.link == Link::nvswitch || (c.link == Link::nvlink_pairs && stride < c.fast_domain());
  const double rate = nvlink ? c.device.nvlink_bytes_per_s : std::max(c.device.pcie_bytes_per_s, 1e9);
  return (nvlink ? 3.0 : 8.0) + bytes / (rate * kPcieShare) * 1e6;
}

}  // namespace trireme

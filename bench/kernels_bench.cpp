// kernels_bench [THREADS...]: products of SmolLM2's shapes, and attention of decode rows, beside the peak and the
// bandwidth probed in the same run. Checks results against the reference before it times anything. Default: 1 and 2
// threads.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "kernels/select.h"
#include "launch/probe_limits.h"

using namespace trireme;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Format {
  const char* name;
  PackedView view;
  double Limits::*peak;  // 0 on this CPU: FP32 multiply-adds are the limit
};
constexpr Format kFormats[] = {
    {"q4 with minimum", {.form = PackedForm::q4, .has_minimum = true}, &Limits::int8_gops},
    {"q8", {.form = PackedForm::q8, .zero = 128}, &Limits::int8_gops},
    {"q4_k", {.form = PackedForm::q4, .has_minimum = true, .scale_type = DType::f32}, &Limits::int8_gops},
    {"q6_k", {.form = PackedForm::q8, .zero = 128, .scale_type = DType::f32, .scale_columns = 16}, &Limits::int8_gops},
    {"bf16", {.form = PackedForm::bf16}, &Limits::bf16_gflops},
    {"f16", {.form = PackedForm::f16}, &Limits::fma_gflops},
    {"f32", {.form = PackedForm::f32}, &Limits::fma_gflops}};
struct Shape {
  int64_t n, k, unit;
};
constexpr Shape kShapes[] = {{960, 576, 64}, {576, 576, 64}, {3072, 576, 64}, {576, 1536, 64}, {49152, 576, 64}};

PackedView sized(PackedView view, const Shape& s) {
  view.n = s.n, view.k = s.k;
  return view;
}

// A packed matrix of any bytes that are finite numbers, and encoded rows.
struct Product {
  Buffer weights, rows, y;
  Contraction tree;
  MatMul call;

  Product(const Format& f, const Shape& s, int64_t m)
      : weights(static_cast<size_t>(packed_bytes(sized(f.view, s))) + 4096, "weights"),
        rows(static_cast<size_t>(m * activation_row_bytes(activation_form(f.view.form), s.k)), "rows"),
        y(static_cast<size_t>(m * s.n * 4), "products"),
        tree(contraction(s.k, s.unit)) {
    std::mt19937 random(1);
    for (uint32_t& u : weights.span<uint32_t>()) u = static_cast<uint32_t>(random()) & 0xbfffbfffu & 0x3f7f3f7fu;
    std::vector<float> x(static_cast<size_t>(m * s.k));
    for (float& v : x) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    ActivationForm form = activation_form(f.view.form);
    call = {
        {form, rows.data(), m, s.k, activation_row_bytes(form, s.k)}, sized(f.view, s), &tree, y.as<float>(), s.n, 0};
    call.w.data = weights.data();
    if (form == ActivationForm::f32)
      std::memcpy(rows.data(), x.data(), x.size() * 4);
    else
      select_kernels("reference").encode({}, {MatrixView<const float>(x.data(), m, s.k), call.x});
  }
};

// The first and last rows, all outputs of a few panels, against the reference.
bool agrees(const Kernels& kernels, ThreadPool& pool, const Product& p) {
  pool.run([&](int part) { kernels.matmul({part, pool.size(), nullptr}, p.call); });
  MatMul small = p.call;
  small.w.n = std::min<int64_t>(128, p.call.w.n);
  std::vector<float> expected(static_cast<size_t>(small.w.n));
  for (int64_t row : {int64_t{0}, p.call.x.rows - 1}) {
    small.x.data = p.call.x.data + row * p.call.x.row_bytes;
    small.x.rows = 1;
    small.y = expected.data();
    select_kernels("reference").matmul({}, small);
    if (std::memcmp(p.call.y + row * p.call.y_stride, expected.data(), expected.size() * 4) != 0) return false;
  }
  return true;
}

struct Timing {
  double best, median;
};

// f(i) so often in each of some rounds, of which the first warms up: seconds of one.
template <typename F>
Timing time_rounds(int repeats, const F& f) {
  std::vector<double> times;
  for (int round = 0; round < 9; round++) {
    const double start = seconds();
    for (int i = 0; i < repeats; i++) f(i);
    if (round > 0) times.push_back((seconds() - start) / repeats);
  }
  std::sort(times.begin(), times.end());
  return {times[0], times[times.size() / 2]};
}

// Copies of the weights in turn, more than the caches hold, so that a product reads memory as it does in a model.
Timing time_product(const Kernels& kernels, ThreadPool& pool, const Product& p, const Buffer& arena) {
  auto bytes = (static_cast<size_t>(packed_bytes(p.call.w)) + 4095) / 4096 * 4096;
  size_t copies = std::max<size_t>(1, (arena.bytes() - 4096) / bytes);
  for (size_t i = 0; i < copies; i++) std::memcpy(arena.data() + i * bytes, p.call.w.data, bytes);
  double work = static_cast<double>(p.call.x.rows * p.call.w.n * p.call.w.k);
  int repeats = std::max(static_cast<int>(2e8 / work), work < 1e8 ? static_cast<int>(copies) : 1);
  return time_rounds(repeats, [&](int i) {
    MatMul call = p.call;
    call.w.data = arena.data() + static_cast<size_t>(i) % copies * bytes;
    pool.run([&](int part) { kernels.matmul({part, pool.size(), nullptr}, call); });
  });
}

// Decode rows of as many sequences over a cache of BF16 whose blocks lie in no order.
struct Heads {
  int heads, kv_heads, head_dim;
};
constexpr Heads kHeads[] = {{9, 3, 64}, {32, 8, 128}, {16, 16, 64}};
struct Cached {
  int64_t sequences;
  int32_t positions;
};
constexpr Cached kCached[] = {{1, 512}, {160, 512}, {640, 128}, {16, 8192}};
constexpr double kPastCaches = 60e6;  // bytes of keys and values: fewer may come from a cache, and show no share

struct Decode {
  int64_t blocks, tile;  // of a sequence; bytes of K or V of a block and head
  Buffer k, v, q, out;
  std::vector<int32_t> tables, kv_head_of;
  std::vector<AttentionSpan> spans;
  Attention call;

  Decode(const Heads& h, const Cached& c)
      : blocks((c.positions + kBlockTokens - 1) / kBlockTokens),
        tile(int64_t{h.head_dim} * kBlockTokens * 2),
        k(static_cast<size_t>(c.sequences * blocks * h.kv_heads * tile), "keys"),
        v(k.bytes(), "values"),
        q(static_cast<size_t>(c.sequences * h.heads * h.head_dim * 4), "queries"),
        out(q.bytes(), "outputs") {
    std::mt19937 random(1);
    for (Buffer* b : {&k, &v})  // BF16 between -2 and 2
      for (uint16_t& x : b->span<uint16_t>()) x = static_cast<uint16_t>((random() & 0x80ffu) | 0x3f00u);
    for (float& x : q.span<float>()) x = static_cast<float>(random() >> 8) * 0x1p-25f;
    tables.resize(static_cast<size_t>(c.sequences * blocks));
    for (size_t i = 0; i < tables.size(); i++) tables[i] = static_cast<int32_t>(i);
    std::shuffle(tables.begin(), tables.end(), random);
    for (int head = 0; head < h.heads; head++) kv_head_of.push_back(head * h.kv_heads / h.heads);
    for (int32_t s = 0; s < c.sequences; s++) spans.push_back({s, 1, c.positions - 1, tables.data() + s * blocks});
    const MatrixView<float> rows(q.as<float>(), c.sequences, h.heads * h.head_dim);
    call = {.q = rows,
            .spans = spans,
            .kv_head_of = kv_head_of,
            .scale = 0.125f,
            .pages = {DType::bf16, k.data(), v.data(), h.kv_heads, h.head_dim, h.kv_heads},
            .out = {out.as<float>(), rows.rows, rows.columns}};
  }
};

void bench_attention(const Kernels& kernels, ThreadPool& pool, const Limits& limits) {
  fmt::print("{:16} {:>4} {:>6} {:>10} {:>10} {:>8} {:>7} {:>7}\n", "attention", "rows", "cached", "best us", "median",
             "Gop/s", "% peak", "% read");
  for (const Heads& h : kHeads)
    for (const Cached& c : kCached) {
      Decode d(h, c);
      const std::string name = fmt::format("{}/{} x {}", h.heads, h.kv_heads, h.head_dim);
      select_kernels("reference").attention({}, d.call);
      std::vector<float> expected(d.out.as<float>(), d.out.as<float>() + d.out.bytes() / 4);
      const auto run = [&] { pool.run([&](int part) { kernels.attention({part, pool.size(), nullptr}, d.call); }); };
      run();
      if (std::memcmp(expected.data(), d.out.data(), d.out.bytes()) != 0) {
        fmt::print("WRONG: attention {} differs from the reference\n", name);
        continue;
      }
      const int repeats =
          static_cast<int>(std::max<int64_t>(1, int64_t{200'000'000} / (d.call.q.columns * c.sequences * c.positions)));
      const Timing t = time_rounds(repeats, [&](int) { run(); });
      const double values = static_cast<double>(d.call.q.columns * c.sequences * c.positions);
      const double bytes = 2 * static_cast<double>(d.k.bytes());
      const double share = 100 * bytes / t.best / (limits.read_gbps * 1e9);
      fmt::print("{:16} {:4} {:6} {:10.1f} {:10.1f} {:8.0f} {:7.1f} {:>7}\n", name, c.sequences, c.positions,
                 t.best * 1e6, t.median * 1e6, 4 * values / t.best / 1e9, 4 * values / t.best / limits.fma_gflops / 1e7,
                 bytes < kPastCaches ? "cached" : fmt::format("{:.1f}", share));
      std::fflush(stdout);
    }
}

void bench(const Kernels& kernels, int threads, const Buffer& arena) {
  ThreadPool pool(threads, allowed_cpus());
  const Limits limits = probe_limits(pool);
  const double bandwidth = limits.read_gbps * 1e9;
  fmt::print("\n{} threads, level {}: read {:.1f} GB/s\n", threads, kernels.level, bandwidth / 1e9);
  bench_attention(kernels, pool, limits);
  fmt::print("{:16} {:>4} {:>5} {:>6} {:>10} {:>10} {:>8} {:>7} {:>7}\n", "format", "M", "K", "N", "best us", "median",
             "Gop/s", "% peak", "% read");
  for (const Format& f : kFormats) {
    const double peak = 1e9 * (limits.*f.peak > 0 ? limits.*f.peak : limits.fma_gflops);
    fmt::print("{}: peak {:.0f} Gop/s\n", f.name, peak / 1e9);
    for (const Shape& s : kShapes)
      for (int64_t m : {1, 2, 4, 16, 128, 512}) {
        if (m == 512 && s.n > 4096) continue;
        Product p(f, s, m);
        if (!agrees(kernels, pool, p)) {
          fmt::print("WRONG: {} M {} K {} N {} differs from the reference\n", f.name, m, s.k, s.n);
          continue;
        }
        Timing t = time_product(kernels, pool, p, arena);
        double operations = 2.0 * static_cast<double>(m * s.n * s.k),
               bytes = static_cast<double>(packed_bytes(p.call.w));
        fmt::print("{:16} {:4} {:5} {:6} {:10.1f} {:10.1f} {:8.0f} {:7.1f} {:7.1f}\n", f.name, m, s.k, s.n,
                   t.best * 1e6, t.median * 1e6, operations / t.best / 1e9, 100 * operations / t.best / peak,
                   100 * bytes / t.best / bandwidth);
        std::fflush(stdout);
      }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> threads;
  for (int i = 1; i < argc; i++) threads.push_back(std::atoi(argv[i]));
  if (threads.empty()) threads = {1, 2};
  Buffer arena(size_t{256} << 20, "copies of weights");
  std::memset(arena.data(), 1, arena.bytes());
  Kernels kernels = select_kernels(available_levels().back());
  for (int n : threads) bench(kernels, n, arena);
}

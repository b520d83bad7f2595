#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "kernels/select.h"
#include "launch/bench.h"
#include "launch/probe_limits.h"

namespace trireme {

namespace {

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
// Of SmolLM2 135M: QKV, gate and up, down, the head.
struct Shape {
  int64_t n, k, unit;
};
constexpr Shape kShapes[] = {{960, 576, 64}, {3072, 576, 64}, {576, 1536, 64}, {49152, 576, 64}};
constexpr int64_t kRows[] = {1, 2, 4, 16, 128};

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

constexpr size_t kArenaBytes = size_t{256} << 20;  // of copies of weights: more than caches hold
constexpr double kPastCaches = 60e6;               // bytes of keys and values: fewer may come from a cache
constexpr double kSampleWork = 2e8;                // multiply-adds that one should have

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
      : weights(static_cast<size_t>(packed_bytes(sized(f.view, s))), "weights"),
        rows(static_cast<size_t>(m * activation_row_bytes(activation_form(f.view.form), s.k)), "rows"),
        y(static_cast<size_t>(m * s.n * 4), "products"),
        tree(contraction(s.k, s.unit)) {
    std::mt19937 random(1);
    for (uint32_t& u : weights.span<uint32_t>()) u = static_cast<uint32_t>(random()) & 0xbfffbfffu & 0x3f7f3f7fu;
    std::vector<float> x(static_cast<size_t>(m * s.k));
    for (float& v : x) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    const ActivationForm form = activation_form(f.view.form);
    call = {
        {form, rows.data(), m, s.k, activation_row_bytes(form, s.k)}, sized(f.view, s), &tree, y.as<float>(), s.n, 0};
    call.w.data = weights.data();
    if (form == ActivationForm::f32)
      std::memcpy(rows.data(), x.data(), x.size() * sizeof(float));
    else
      select_kernels("reference").encode({}, {MatrixView<const float>(x.data(), m, s.k), call.x});
  }
};

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
    const MatrixView<float> all(q.as<float>(), c.sequences, h.heads * h.head_dim);
    call = {.q = all,
            .spans = spans,
            .kv_head_of = kv_head_of,
            .scale = 0.125f,
            .pages = {DType::bf16, k.data(), v.data(), h.kv_heads, h.head_dim, h.kv_heads},
            .out = {out.as<float>(), all.rows, all.columns}};
  }
};

class KernelBench {
 public:
  KernelBench(const Options& options, ThreadPool& pool)
      : options_(options),
        pool_(pool),
        kernels_(select_kernels(options.level == "auto" ? available_levels().back() : std::string_view(options.level))),
        limits_(probe_limits(pool)),
        arena_(kArenaBytes, "copies of weights") {}

  void product(const Format& f, const Shape& s, int64_t rows) {
    Product p(f, s, rows);
    if (!agrees(p)) wrong(fmt::format("a product in {}, {} rows of {} columns, {} outputs", f.name, rows, s.k, s.n));
    const auto bytes = (p.weights.bytes() + 4095) / 4096 * 4096;
    const auto copies = static_cast<int64_t>(std::max<size_t>(1, arena_.bytes() / bytes));
    for (int64_t i = 0; i < copies; i++)
      std::memcpy(arena_.data() + static_cast<size_t>(i) * bytes, p.weights.data(), p.weights.bytes());
    const double work = static_cast<double>(rows * s.n * s.k);
    // Copies in turn, so that a product reads memory as it does in a model.
    int64_t next = 0;
    const std::vector<double> us = samples(work, [&] {
      MatMul call = p.call;
      call.w.data = arena_.data() + static_cast<size_t>(next++ % copies) * bytes;
      pool_.run([&](int part) { kernels_.matmul({part, pool_.size(), nullptr}, call); });
    });
    const double peak = limits_.*f.peak > 0 ? limits_.*f.peak : limits_.fma_gflops;
    print("product", us, 2 * work, peak, static_cast<double>(packed_bytes(p.call.w)),
          {{"format", f.name}, {"rows", rows}, {"columns", s.k}, {"outputs", s.n}});
  }

  void attention(const Heads& h, const Cached& c) {
    Decode d(h, c);
    select_kernels("reference").attention({}, d.call);
    const std::vector<float> expected(d.out.as<float>(), d.out.as<float>() + d.out.bytes() / sizeof(float));
    const auto run = [&] { pool_.run([&](int part) { kernels_.attention({part, pool_.size(), nullptr}, d.call); }); };
    run();
    if (std::memcmp(expected.data(), d.out.data(), d.out.bytes()) != 0)
      wrong(fmt::format("attention of {} sequences of {} positions", c.sequences, c.positions));
    const double values = static_cast<double>(d.call.q.columns * c.sequences * c.positions);
    const double bytes = 2 * static_cast<double>(d.k.bytes());
    print("attention", samples(2 * values, run), 4 * values, limits_.fma_gflops, bytes < kPastCaches ? 0 : bytes,
          {{"heads", h.heads},
           {"kv_heads", h.kv_heads},
           {"head_dim", h.head_dim},
           {"sequences", c.sequences},
           {"positions", c.positions}});
  }

 private:
  // The first and last rows, all outputs of a few panels, against the reference.
  bool agrees(const Product& p) {
    pool_.run([&](int part) { kernels_.matmul({part, pool_.size(), nullptr}, p.call); });
    MatMul small = p.call;
    small.w.n = std::min<int64_t>(128, p.call.w.n);
    std::vector<float> expected(static_cast<size_t>(small.w.n));
    for (int64_t row : {int64_t{0}, p.call.x.rows - 1}) {
      small.x.data = p.call.x.data + row * p.call.x.row_bytes;
      small.x.rows = 1;
      small.y = expected.data();
      select_kernels("reference").matmul({}, small);
      if (std::memcmp(p.call.y + row * p.call.y_stride, expected.data(), expected.size() * sizeof(float)) != 0)
        return false;
    }
    return true;
  }

  [[noreturn]] void wrong(const std::string& what) const {
    fail(ExitCode::internal, "internal error: {} at level {} has not the bits of the reference; please report it", what,
         kernels_.level);
  }

  // Microseconds of one, in as many samples as wanted after one that warms up. work: multiply-adds.
  template <typename F>
  std::vector<double> samples(double work, const F& f) const {
    using Clock = std::chrono::steady_clock;
    const int calls = std::max(1, static_cast<int>(kSampleWork / work));
    std::vector<double> us;
    for (int64_t sample = -1; sample < options_.repeats; sample++) {
      const auto start = Clock::now();
      for (int i = 0; i < calls; i++) f();
      if (sample >= 0) us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / calls);
    }
    return us;
  }

  // Beside the limit that is nearer: memory's, or that of the arithmetic. bytes: 0 where they may come from a cache.
  void print(const char* name, const std::vector<double>& us, double operations, double peak, double bytes,
             nlohmann::ordered_json about) const {
    const double per_second = 1e6 / median(us);
    const bool by_memory = bytes / limits_.read_gbps > operations / peak;
    about["threads"] = pool_.size();
    about["level"] = kernels_.level;
    print_figure({name, "us", us, (by_memory ? bytes : operations) * per_second * 1e-9,
                  by_memory ? limits_.read_gbps : peak, by_memory ? "GB/s" : "GOP/s", std::move(about)},
                 options_);
  }

  const Options& options_;
  ThreadPool& pool_;
  const Kernels kernels_;
  const Limits limits_;
  Buffer arena_;
};

}  // namespace

// Products of SmolLM2's shapes and attention of decode rows, whose results are the reference's before they are timed.
void bench_kernels(const Options& options, Communicator& world) {
  if (options.device != "cpu")
    fail(ExitCode::usage, "bench kernels measures CPUs; leave --device {} out (bench/gpu.sh measures a GPU's)",
         options.device);
  if (world.rank() != 0) return;
  const std::unique_ptr<ThreadPool> pool = bench_team(options);
  KernelBench bench(options, *pool);
  for (const Heads& h : kHeads)
    for (const Cached& c : kCached) bench.attention(h, c);
  for (const Format& f : kFormats)
    for (const Shape& s : kShapes)
      for (int64_t rows : kRows) bench.product(f, s, rows);
}

}  // namespace trireme

#include <algorithm>

#include "base/error.h"
#include "bench/gpu_kernels.h"
#include "model/kv_cache.h"

namespace trireme {

namespace {

// Of Llama 3.1 8B.
struct Heads {
  int heads = 32, kv_heads = 8, head_dim = 128, context = 2048;
  int64_t columns() const { return int64_t{heads} * head_dim; }
  int blocks() const { return context / kBlockTokens; }
};

// Sequences of one length, several times, so that no cache holds the pages of the time before.
struct Sequences {
  Heads h;
  int64_t rows, sets;
  KvCache cache;
  Buffer heads, tables, q, out, encoded;

  Sequences(CudaDevice& gpu, const Heads& of, int64_t rows_, int64_t q_rows, bool small)
      : h(of),
        rows(rows_),
        sets(small ? 2 : std::max<int64_t>(2, kPastCaches / (rows * h.blocks() * block_bytes()) + 1)),
        cache(gpu, 1, h.kv_heads, h.head_dim, DType::bf16, sets * rows * h.blocks()),
        q(on_gpu(gpu, some_numbers(static_cast<size_t>(q_rows * h.columns()) * sizeof(float), 3))),
        out(gpu.allocate(q.bytes(), "results")),
        encoded(gpu.allocate(static_cast<size_t>(q_rows * row_bytes()), "results")) {
    fill_with_numbers(gpu, cache.memory());
    std::vector<int32_t> kv_head_of, blocks(static_cast<size_t>(cache.blocks()));
    for (int head = 0; head < h.heads; head++) kv_head_of.push_back(head / (h.heads / h.kv_heads));
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = static_cast<int32_t>(i);
    heads = on_gpu(gpu, kv_head_of);
    tables = on_gpu(gpu, blocks);
  }

  int64_t block_bytes() const { return KvCache::block_bytes(h.kv_heads, h.head_dim, DType::bf16); }
  int64_t row_bytes() const { return activation_row_bytes(ActivationForm::bf16, h.columns()); }
  const int32_t* table(int64_t set, int64_t row) const {
    return tables.as<int32_t>() + (set * rows + row) * h.blocks();
  }
  Attention call(const std::vector<AttentionSpan>& of, const Buffer& there, int64_t q_rows) const {
    return {{q.as<float>(), q_rows, h.columns()},
            {there.as<AttentionSpan>(), of.size()},
            {heads.as<int32_t>(), static_cast<size_t>(h.heads)},
            0.088f,
            0,
            0,
            cache.pages(0),
            {out.as<float>(), q_rows, h.columns()},
            {ActivationForm::bf16, encoded.data(), q_rows, h.columns(), row_bytes()},
            true};
  }
};

// The last row of q, at the last position of the first sequence of set 0, by the reference.
void check_last(const KernelBench& bench, CudaDevice& gpu, const Sequences& s, const char* name, int64_t row,
                int64_t sequence) {
  const int64_t bytes = s.h.blocks() * s.block_bytes(), columns = s.h.columns();
  const KvPages there = s.cache.pages(0);
  std::vector<std::byte> pages = on_host<std::byte>(gpu, there.k + sequence * bytes, bytes);
  const std::vector<float> q = on_host<float>(gpu, s.q.as<float>() + row * columns, columns);
  std::vector<int32_t> blocks(static_cast<size_t>(s.h.blocks())),
      kv_head_of = on_host<int32_t>(gpu, s.heads.data(), s.h.heads);
  for (size_t i = 0; i < blocks.size(); i++) blocks[i] = static_cast<int32_t>(i);
  const AttentionSpan span{0, 1, s.h.context - 1, blocks.data()};
  std::vector<float> expected(static_cast<size_t>(columns));
  KvPages here = there;
  here.k = pages.data(), here.v = pages.data() + (there.v - there.k);
  bench.pool.run([&](int part) {
    bench.reference.attention(
        {part, bench.pool.size()},
        {{q.data(), 1, columns}, {&span, 1}, kv_head_of, 0.088f, 0, 0, here, {expected.data(), 1, columns}, {}, true});
  });
  constexpr double kNear = 1e-3;  // a score that differs in its last bit may round a weight to the next BF16
  const double off = distance(on_host<float>(gpu, s.out.as<float>() + row * columns, columns), expected);
  if (!(off < kNear))
    fail(ExitCode::internal, "{}: row {} is not the reference's: relative distance {}", name, row, off);
}

void time_decode(const KernelBench& bench, CudaDevice& gpu, const Heads& h, int64_t rows) {
  const Sequences s(gpu, h, rows, rows, bench.small);
  std::vector<std::vector<AttentionSpan>> spans(static_cast<size_t>(s.sets));
  std::vector<Buffer> there;
  for (size_t set = 0; set < spans.size(); set++) {
    for (int32_t r = 0; r < rows; r++)
      spans[set].push_back({r, 1, h.context - 1, s.table(static_cast<int64_t>(set), r)});
    there.push_back(on_gpu(gpu, spans[set]));
  }
  const auto attend = [&](int64_t i) {
    const auto set = static_cast<size_t>(i % s.sets);
    gpu.launch(gpu.kernels().attention, s.call(spans[set], there[set], rows));
  };
  const std::string name = fmt::format("attention, {} of {}", rows, h.context);
  attend(0);
  check_last(bench, gpu, s, name.c_str(), rows - 1, rows - 1);
  const Timing t = time_of(gpu, 0, bench.sampling, attend);
  const double bytes = static_cast<double>(rows * h.blocks() * s.block_bytes());
  fmt::print("{:<28} {:>10.1f} us +-{:>3.0f} % {:>8.1f} GB/s of pages, {:>5.1f} % of copies\n", name, t.seconds * 1e6,
             50 * t.spread, bytes / t.seconds * 1e-9, 100 * bytes / t.seconds / bench.limits.bandwidth);
}

void time_prompt(const KernelBench& bench, CudaDevice& gpu, const Heads& h) {
  const Sequences s(gpu, h, 1, h.context, bench.small);
  std::vector<std::vector<AttentionSpan>> spans(static_cast<size_t>(s.sets));
  std::vector<Buffer> there;
  for (size_t set = 0; set < spans.size(); set++) {
    spans[set].push_back({0, h.context, 0, s.table(static_cast<int64_t>(set), 0)});
    there.push_back(on_gpu(gpu, spans[set]));
  }
  const auto attend = [&](int64_t i) {
    const auto set = static_cast<size_t>(i % s.sets);
    gpu.launch(gpu.kernels().attention, s.call(spans[set], there[set], h.context));
  };
  const std::string name = fmt::format("attention, a prompt of {}", h.context);
  attend(0);
  check_last(bench, gpu, s, name.c_str(), h.context - 1, 0);
  const Timing t = time_of(gpu, 1, bench.sampling, attend);
  const double flops = 2.0 * h.context * h.context * static_cast<double>(h.columns()) / t.seconds;
  fmt::print(
      "{:<28} {:>10.1f} us +-{:>3.0f} % {:>7.2f} TFLOP/s{}\n", name, t.seconds * 1e6, 50 * t.spread, flops * 1e-12,
      bench.limits.flops > 0 ? fmt::format(", {:>5.1f} % of cuBLASLt's product", 100 * flops / bench.limits.flops)
                             : "");
}

}  // namespace

void time_attention(const KernelBench& bench) {
  const Heads h = bench.small ? Heads{4, 2, 32, 64} : Heads{};
  for (const int64_t rows : {1, 16, 64}) {
    if (bench.small && rows > 16) continue;
    const auto gpu = bench.open();
    time_decode(bench, *gpu, h, rows);
    if (rows == 1) time_prompt(bench, *gpu, h);
    tell_of_graphs(*gpu);
  }
}

}  // namespace trireme

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "bench/gpu_kernels.h"

namespace trireme {

namespace {

struct Shape {
  int64_t experts = 128, chosen = 8, n = 1536, k = 2048, unit = 64;
};

// Tokens spread evenly: as many experts as they choose, the same number of rows each.
struct Spread {
  int64_t used, each;
  int64_t rows() const { return used * each; }
};
Spread spread_of(const Shape& s, int64_t tokens) {
  const int64_t used = std::min(s.experts, tokens * s.chosen);
  return {used, tokens * s.chosen / used};
}

// Where the rows of each expert end when `first` is the first that has any.
std::vector<int32_t> ends_of(const Shape& s, const Spread& spread, int64_t first) {
  std::vector<int32_t> ends(static_cast<size_t>(s.experts));
  for (int64_t e = 0; e < s.experts; e++)
    ends[static_cast<size_t>(e)] =
        (e - first + s.experts) % s.experts < spread.used ? static_cast<int32_t>(spread.each) : 0;
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  return ends;
}

}  // namespace

void time_experts(const KernelBench& bench) {
  const Shape s = bench.small ? Shape{8, 2, 64, 128, 64} : Shape{};
  const std::vector<int64_t> all_tokens =
      bench.small ? std::vector<int64_t>{1, 8} : std::vector<int64_t>{1, 16, 64, 512};
  const auto gpu = bench.open();
  PackedView w{.form = PackedForm::bf16, .n = s.n, .k = s.k};
  const int64_t bytes = packed_bytes(w), most = all_tokens.back() * s.chosen;
  w.to_next = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  // Some 800 MB: experts take turns, so that no cache holds those of the time before.
  const Buffer weights = on_gpu(*gpu, some_numbers(static_cast<size_t>(s.experts * w.to_next), 5));
  w.data = weights.data();
  Activations x{ActivationForm::bf16, nullptr, most, s.k, activation_row_bytes(ActivationForm::bf16, s.k)};
  const Buffer in = on_gpu(*gpu, some_numbers(static_cast<size_t>(most * x.row_bytes), 6));
  const Buffer out = gpu->allocate(static_cast<size_t>(most * s.n) * sizeof(float), "sums"),
               alone = gpu->allocate(static_cast<size_t>(s.n) * sizeof(float), "sums");
  const Contraction tree = contraction(s.k, s.unit);
  const auto matmul = gpu->kernels().matmul;

  int64_t key = 0;
  for (const int64_t tokens : all_tokens) {
    const Spread spread = spread_of(s, tokens);
    std::vector<Buffer> ends;
    for (int64_t first = 0; first < s.experts; first += s.chosen)
      ends.push_back(on_gpu(*gpu, ends_of(s, spread, first)));
    x.data = in.data(), x.rows = spread.rows();
    const auto product = [&](size_t i) {
      const ExpertRows of{{ends[i % ends.size()].as<int32_t>(), static_cast<size_t>(s.experts)}, spread.each};
      gpu->launch(matmul, MatMul{x, w, &tree, out.as<float>(), s.n, 0, {}, of});
    };
    product(0);  // experts 0 to spread.used - 1
    for (const int64_t row : {int64_t{0}, spread.rows() - 1}) {
      PackedView own = w;
      own.data += row / spread.each * w.to_next, own.to_next = 0;
      Activations one = x;
      one.data += row * x.row_bytes, one.rows = 1;
      gpu->launch(matmul, MatMul{one, own, &tree, alone.as<float>(), s.n, 0});
      if (!same_bits(on_host<float>(*gpu, out.as<float>() + row * s.n, s.n), on_host<float>(*gpu, alone.data(), s.n)))
        fail(ExitCode::internal, "experts, {} tokens: row {} is not its expert's alone", tokens, row);
    }
    const Timing t = time_of(*gpu, key++, bench.sampling, product);
    const double read = static_cast<double>(spread.used * bytes);
    fmt::print(
        "bf16       {:>3} of {} experts, {:>4} tokens {:>10.1f} us +-{:>3.0f} % {:>8.1f} GB/s of weights, {:>5.1f} % "
        "of copies\n",
        spread.used, s.experts, tokens, t.seconds * 1e6, 50 * t.spread, read / t.seconds * 1e-9,
        100 * read / t.seconds / bench.limits.bandwidth);
  }
  tell_of_graphs(*gpu);
}

}  // namespace trireme

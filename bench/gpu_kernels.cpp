// gpu_kernels: the CUDA kernels on the shapes of an 8B model (Llama 3.1), beside their limits measured in the same run:
// the bandwidth of copies, and the products of cuBLASLt where that library is. They are launched as the program does:
// behind each other in a graph, early where that is, other memory each time. BF16 and FP16 by warps stand beside
// the same by warpgroups. Rows of every product are checked before it is timed: the first and the last of the most
// against the reference (bit for bit where that is promised), the first row's bits for all numbers of rows; and again
// after it. Exit code 77 without a GPU.
//   gpu_kernels            the whole table
//   gpu_kernels --limits   what it is measured against, and no more
//   gpu_kernels --small    a few small ones: shows that it works
#include "bench/gpu_kernels.h"

#include <cmath>
#include <string_view>

#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/packed_layout.h"
#include "kernels/select.h"
#include "launch/environment.h"
#include "launch/probe_limits.h"

using namespace trireme;

namespace {

constexpr int kSkipped = 77;

struct Format {
  const char* name;
  PackedView view;
};
constexpr Format kFormats[] = {{"bf16", {.form = PackedForm::bf16}},
                               {"fp8", {.form = PackedForm::e4m3, .scale_type = DType::f32}},
                               {"fp8_inputs", {.form = PackedForm::e4m3_groups, .scale_type = DType::f32}},
                               {"q8", {.form = PackedForm::q8, .zero = 128}},
                               {"q4", {.form = PackedForm::q4, .has_minimum = true}},
                               {"q4_k", {.form = PackedForm::q4, .has_minimum = true, .scale_type = DType::f32}},
                               {"f16", {.form = PackedForm::f16_pairs}},
                               {"f16_exact", {.form = PackedForm::f16}},
                               {"f32", {.form = PackedForm::f32}}};
struct Shape {
  const char* name;
  int64_t n, k, unit, scale_columns;  // scale_columns: of FP8
};
constexpr Shape kShapes[] = {{"qkv", 6144, 4096, 512, 4096},
                             {"o", 4096, 4096, 128, 128},
                             {"gate_up", 28672, 4096, 512, 4096},
                             {"down", 4096, 14336, 448, 448}};
constexpr Shape kSmallShapes[] = {
    {"qkv", 192, 128, 64, 128}, {"gate_up", 256, 128, 64, 128}, {"down", 64, 192, 96, 96}};
constexpr int64_t kRows[] = {1, 4, 16, 64, 512, 4096}, kSmallRows[] = {1, 4, 40}, kMostF32Rows = 64;

struct Way {
  const char* name;
  const Kernels& kernels;
  int64_t fewest_rows;  // that it is timed for
};
constexpr int kArchitectureOfWarpgroups = 90;
constexpr int64_t kFewestOfTiles = 33;  // up to 32 rows are streamed, whatever multiplies more

// Weights, and rows of which products of fewer take the first; on the host and on a GPU of its own.
class Product {
 public:
  Product(const KernelBench& bench, const Format& format, const Shape& shape, int64_t most_rows)
      : bench_(bench),
        gpu_(bench.open()),
        name_(fmt::format("{:<10} {:<8}", format.name, shape.name)),
        w_(format.view),
        tree_(contraction(shape.k, shape.unit)) {
    w_.n = shape.n, w_.k = shape.k;
    if (is_e4m3(w_.form)) w_.scale_columns = static_cast<int>(shape.scale_columns);
    words_ = some_numbers(static_cast<size_t>(packed_bytes(w_)), 1);
    bytes_ = (packed_bytes(w_) + kAlignment - 1) / kAlignment * kAlignment;
    make_rows(activation_form(w_.form) == ActivationForm::f32 ? std::min(most_rows, kMostF32Rows) : most_rows);
    copies_ = bench.small ? 2 : std::max<int64_t>(2, kPastCaches / bytes_ + 1);
    weights_ = gpu_->allocate(static_cast<size_t>(copies_ * bytes_), "weights");
    const Buffer first = on_gpu(*gpu_, words_);
    for (int64_t i = 0; i < copies_; i++) gpu_->copy(weights_.data() + i * bytes_, first.data(), first.bytes());
    in_ = on_gpu(*gpu_, rows_);
    sums_ = gpu_->allocate(static_cast<size_t>(x_.rows * w_.n) * sizeof(float), "sums");
    gpu_->synchronize();
  }

  void time(std::span<const int64_t> all_rows, std::span<const Way> ways) {
    std::vector<float> first_row;
    for (const int64_t rows : all_rows)
      for (const Way& way : ways) {
        if (rows > x_.rows || rows < way.fewest_rows) continue;
        const auto product = [&](int64_t i) { gpu_->launch(way.kernels.matmul, call(rows, i)); };
        const auto check = [&](const char* when) {
          if (!same_bits(row_of_sums(0), first_row))
            fail(ExitCode::internal, "{}: the first of {} rows has other bits than alone{}{}", name_, rows, way.name,
                 when);
          if (rows == x_.rows) check_row(rows - 1);
        };
        product(0);
        if (first_row.empty()) check_row(0), first_row = row_of_sums(0);
        check("");
        const Timing t = time_of(*gpu_, key_++, bench_.sampling, product);
        check(", many times");
        print(name_, rows, t, way);
      }
    tell_of_graphs(*gpu_);
  }

  // gate and up, then their activation, in one operation, whose bits are those of two.
  void time_gated(std::span<const int64_t> all_rows, std::span<const Way> ways) {
    if (!can_gate(w_)) return;
    const int64_t columns = w_.n / 2;
    const ActivationForm form = activation_form(w_.form);
    const Buffer out = gpu_->allocate(static_cast<size_t>(x_.rows * columns) * sizeof(float), "activations");
    const int64_t row_bytes = activation_row_bytes(form, columns);
    const Buffer encoded = gpu_->allocate(static_cast<size_t>(x_.rows * row_bytes), "activations");
    const bool plain = form == ActivationForm::f32;
    const auto bits_of = [&](int64_t row) {
      const std::byte* data =
          plain ? out.data() + row * columns * int64_t{sizeof(float)} : encoded.data() + row * row_bytes;
      return on_host<std::byte>(*gpu_, data, row_bytes);
    };
    for (const int64_t rows : all_rows)
      for (const Way& way : ways) {
        if (rows > x_.rows || rows < way.fewest_rows) continue;
        const MatrixView<float> to(out.as<float>(), rows, columns);
        const Activations next = plain ? Activations{} : Activations{form, encoded.data(), rows, columns, row_bytes};
        const MatrixView<const float> gate(sums_.as<float>(), rows, columns, w_.n),
            up(sums_.as<float>() + columns, rows, columns, w_.n);
        gpu_->launch(way.kernels.matmul, call(rows, 0));
        gpu_->launch(way.kernels.gated_mul, GatedMul{Activation::silu, gate, up, to, next});
        const auto first = bits_of(0), last = bits_of(rows - 1);
        const auto gated = [&](int64_t i) {
          gpu_->launch(way.kernels.gated_matmul, GatedMatMul{call(rows, i), Activation::silu, to, next});
        };
        const Timing t = time_of(*gpu_, key_++, bench_.sampling, gated);
        if (!same_bits(bits_of(0), first) || !same_bits(bits_of(rows - 1), last))
          fail(ExitCode::internal, "{}: {} rows, gated by their product{}, have other bits than after it", name_, rows,
               way.name);
        print(fmt::format("{:<19}", name_.substr(0, 11) + "gated"), rows, t, way);
      }
    tell_of_graphs(*gpu_);
  }

 private:
  void make_rows(int64_t rows) {
    std::mt19937 random(2);
    std::vector<float> values(static_cast<size_t>(rows * w_.k));
    for (float& v : values) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    const ActivationForm form = activation_form(w_.form);
    x_ = {form, nullptr, rows, w_.k, activation_row_bytes(form, w_.k)};
    rows_.resize(static_cast<size_t>(rows * x_.row_bytes));
    x_.data = rows_.data();
    if (form == ActivationForm::f32)
      std::memcpy(rows_.data(), values.data(), rows_.size());
    else
      bench_.pool.run([&](int part) {
        bench_.reference.encode({part, bench_.pool.size()}, {MatrixView<const float>(values.data(), rows, w_.k), x_});
      });
  }

  // i: which copy of the weights.
  MatMul call(int64_t rows, int64_t i) const {
    Activations x = x_;
    x.data = in_.data(), x.rows = rows;
    PackedView w = w_;
    w.data = weights_.data() + i % copies_ * bytes_;
    return {x, w, &tree_, sums_.as<float>(), w.n, 0};
  }

  std::vector<float> row_of_sums(int64_t row) const {
    return on_host<float>(*gpu_, sums_.as<float>() + row * w_.n, w_.n);
  }

  // Against the reference's: its bits, or near it where tensor cores add in an order of their own.
  void check_row(int64_t row) {
    std::vector<float>& expected = expected_[row == 0];
    PackedView w = w_;
    w.data = reinterpret_cast<std::byte*>(words_.data());
    Activations x = x_;
    x.data += row * x.row_bytes, x.rows = 1;
    if (expected.empty()) {
      expected.resize(static_cast<size_t>(w.n));
      bench_.pool.run([&](int part) {
        bench_.reference.matmul({part, bench_.pool.size()}, {x, w, &tree_, expected.data(), w.n, 0});
      });
    }
    const std::vector<float> y = row_of_sums(row);
    const double off = distance(y, expected);
    // FP32 sums of BF16, FP16 and FP8 products, some of them cut off: errors of 2^-22 or so.
    constexpr double kNear = 1e-5;
    const bool ordered = x.form == ActivationForm::f32 || x.form == ActivationForm::int8;
    const bool good = ordered ? same_bits(y, expected) : off < kNear;
    if (!good) fail(ExitCode::internal, "{}: row {} is not the reference's: relative distance {}", name_, row, off);
  }

  void print(const std::string& name, int64_t rows, const Timing& t, const Way& way) const {
    const double bytes = static_cast<double>(packed_bytes(w_)), flops = 2.0 * static_cast<double>(rows * w_.n * w_.k);
    const double moved = bytes + static_cast<double>(rows * (x_.row_bytes + w_.n * int64_t{sizeof(float)}));
    const Measured& limits = bench_.limits;
    const double copied = moved / limits.bandwidth, multiplied = limits.flops > 0 ? flops / limits.flops : 0;
    fmt::print(
        "{} {:>4} rows {:>10.1f} us +-{:>3.0f} % {:>8.1f} GB/s of weights; {:>7.2f} TFLOP/s; {:>5.1f} % of the limit, "
        "{}{}\n",
        name, rows, t.seconds * 1e6, 50 * t.spread, bytes / t.seconds * 1e-9, flops / t.seconds * 1e-12,
        100 * std::max(copied, multiplied) / t.seconds, multiplied > copied ? "cuBLASLt in BF16" : "copies", way.name);
  }

  const KernelBench& bench_;
  std::unique_ptr<CudaDevice> gpu_;
  std::string name_;
  PackedView w_;
  Contraction tree_;
  std::vector<uint32_t> words_;  // the weights
  std::vector<std::byte> rows_;
  Activations x_;                   // these rows
  std::vector<float> expected_[2];  // of the last row, and of the first
  int64_t bytes_ = 0, copies_ = 0, key_ = 0;
  Buffer weights_, in_, sums_;
};

void time_products(const KernelBench& bench, const Kernels& gpu) {
  Kernels by_warps;
  std::vector<Way> ways{{"", gpu, 1}};
  if (gpu.warpgroups) {
    fill_cuda(by_warps, kArchitectureOfWarpgroups);
    ways.push_back({", by mma.sync", by_warps, kFewestOfTiles});
  }
  const std::span<const int64_t> rows =
      bench.small ? std::span<const int64_t>(kSmallRows) : std::span<const int64_t>(kRows);
  const std::span<const Shape> shapes =
      bench.small ? std::span<const Shape>(kSmallShapes) : std::span<const Shape>(kShapes);
  for (const Format& format : kFormats) {
    if (format.view.form == PackedForm::e4m3_groups && !gpu.inputs.e4m3) continue;
    const bool both = in_pairs(format.view.form);  // what warpgroups multiply
    const auto of_format = std::span<const Way>(ways).first(both ? ways.size() : 1);
    for (const Shape& shape : shapes) {
      Product product(bench, format, shape, rows.back());
      product.time(rows, of_format);
      if (std::string_view(shape.name) == "gate_up") product.time_gated(rows, of_format);
    }
  }
}

}  // namespace

double trireme::distance(const std::vector<float>& a, const std::vector<float>& expected) {
  double off = 0, size = 0;
  for (size_t i = 0; i < expected.size(); i++) {
    off += (double{a[i]} - expected[i]) * (double{a[i]} - expected[i]);
    size += double{expected[i]} * expected[i];
  }
  return std::sqrt(off / size);
}

int main(int argc, char** argv) try {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // whoever stops this has the lines so far
  const std::string_view wish = argc > 1 ? argv[1] : "";
  if (const CudaProbe probe = probe_cuda(); probe.gpus == 0) {
    fmt::print("skipped: kernels on a GPU are not measured: {}\n", probe.missing);
    return kSkipped;
  }
  const Environment environment = Environment::read();
  const auto open = [&] { return open_to_measure(environment); };
  const auto device = open();
  const Kernels& gpu = device->kernels();
  Measured limits;
  std::string missing;
  {
    const auto probed = open();  // it keeps cuBLASLt's workspace
    const Kernels* fast = probed->fast_kernels(environment.library_prefixes(), missing);
    limits = {probe_copy_gbps(*probed) * 1e9, fast ? probe_product_gflops(*probed, *fast) * 1e9 : 0};
  }
  fmt::print("{}{}; copies {:.0f} GB/s; cuBLASLt: {}\n", device->name(),
             gpu.warpgroups ? ", BF16 and FP16 by wgmma" : "", limits.bandwidth * 1e-9,
             limits.flops > 0 ? fmt::format("{:.0f} TFLOP/s at 8192^3 in BF16", limits.flops * 1e-12) : missing);
  if (device->kernels().level.starts_with("cuda-sm_90") && !gpu.warpgroups)
    fmt::print("it adds in another order by wgmma than by mma.sync, which multiplies prompts, too\n");
  if (wish == "--limits") return 0;

  const bool small = wish == "--small";
  const Kernels reference = select_kernels("reference");
  ThreadPool pool(static_cast<int>(allowed_cpus().size()));
  const KernelBench bench{reference, pool, open, limits, small, {small ? 0 : 0.1, small ? 1 : 3}};
  time_attention(bench);
  time_products(bench, gpu);
  time_experts(bench);
  return 0;
} catch (const Error& e) {
  fmt::print("FAILED: {}\n", e.what());
  return static_cast<int>(e.code());
}

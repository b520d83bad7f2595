// gpu_products: the price of `standard` over `fast`: the products of a layer by our kernels beside cuBLASLt's in BF16,
// for shapes of 8B and 70B at TP 1 and 4, with the bandwidth of copies and the peak of cuBLASLt's products measured in
// the same run; then the sum of the four. gate_up is with its activation, as a run launches it. Both are compared on
// real numbers before they are timed. Exit code 77 without a GPU or cuBLASLt.
//   gpu_products           the whole table
//   gpu_products --small   a layer of a small model: shows that it works
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "bench/gpu_timing.h"
#include "device/cuda.h"
#include "kernels/packed_layout.h"
#include "launch/environment.h"
#include "launch/probe_limits.h"
#include "launch/probe_products.h"
#include "model/shapes.h"
#include "model/units.h"

using namespace trireme;

namespace {

constexpr int kSkipped = 77;
constexpr int kQuantizationGroup = 32;  // what units are cut by
constexpr int64_t kComparedOutputs = 128;
constexpr double kTarget = 0.15;  // the price that is to be reached

struct Format {
  const char* name;
  PackedView view;
};
constexpr Format kFormats[] = {
    {"bf16", {.form = PackedForm::bf16}},
    {"f16", {.form = PackedForm::f16_pairs}},
    {"fp8", {.form = PackedForm::e4m3, .scale_type = DType::f32}},
    {"fp8_inputs", {.form = PackedForm::e4m3_groups, .scale_type = DType::f32}},
    {"q8_0", {.form = PackedForm::q8, .zero = 128}},
    {"q4_1", {.form = PackedForm::q4, .has_minimum = true}},
    {"q4_k", {.form = PackedForm::q4, .has_minimum = true, .scale_type = DType::f32}},
};

struct Product {
  const char* name;
  int64_t n;
  Contraction tree;
  int64_t scale_columns;  // of FP8
  bool gated = false;     // gate and up, then their activation
};

// All of a layer in BF16, in seconds.
struct Layer {
  double ours = 0, library = 0;
};

// What a rank multiplies in a layer.
std::vector<Product> products_of(std::string_view shape, int tp) {
  const ModelConfig c = get_shape(shape).config();
  const UnitTable units = UnitTable::of(c, kQuantizationGroup);
  const RankShare share = RankShare::of(c, units, tp, 0);
  const Contraction hidden = contraction(c.hidden_size, units.hidden_unit_columns);
  const int64_t head_columns = units.heads_per_unit * c.head_dim;
  return {
      {"qkv", (share.num_heads + 2 * share.num_kv_heads) * int64_t{c.head_dim}, hidden, c.hidden_size},
      {"o", c.hidden_size, contraction(int64_t{c.num_heads} * c.head_dim, head_columns, share.attention), head_columns},
      {"gate_up", 2 * share.intermediate, hidden, c.hidden_size, true},
      {"down", c.hidden_size, contraction(c.intermediate_size, units.columns_per_unit, share.mlp),
       units.columns_per_unit}};
}

struct Bench {
  CudaDevice& gpu;
  const Kernels& fast;
  double bandwidth, peak;  // bytes/s, operations/s
  int64_t past_caches;     // bytes of weights, so that they come from memory
  Sampling sampling;
  int64_t key = 0;

  Timing time(const Kernels& kernels, PackedView w, const Product& product, int64_t rows) {
    const int64_t k = w.k, bytes = (packed_bytes(w) + kAlignment - 1) / kAlignment * kAlignment;
    const int64_t copies = std::max<int64_t>(2, past_caches / bytes + 1);
    // By turns, so that no cache holds those of the time before; of one piece, for small ones are thousands.
    Buffer weights = gpu.allocate(static_cast<size_t>(copies * bytes), "weights");
    fill_with_numbers(gpu, weights);
    const ActivationForm form = activation_form(w.form);
    Activations x{form, nullptr, rows, k, activation_row_bytes(form, k)};
    Buffer in = gpu.allocate(static_cast<size_t>(rows * x.row_bytes), "rows");
    const Buffer out =
        gpu.allocate(static_cast<size_t>(product.tree.program.roots * rows * w.n) * sizeof(float), "sums");
    const int64_t columns = w.n / 2, next_bytes = activation_row_bytes(form, columns);
    const Buffer activated = gpu.allocate(static_cast<size_t>(rows * columns) * sizeof(float), "activations");
    const Buffer encoded = gpu.allocate(static_cast<size_t>(rows * next_bytes), "activations");
    const MatrixView<float> to(activated.as<float>(), rows, columns);
    const Activations next{form, encoded.data(), rows, columns, next_bytes};
    fill_with_numbers(gpu, in);
    x.data = in.data();
    return time_of(gpu, key++, sampling, [&](int i) {
      w.data = weights.data() + i % copies * bytes;
      const MatMul call{x, w, &product.tree, out.as<float>(), w.n, rows * w.n};
      if (product.gated && can_gate(w))
        return gpu.launch(kernels.gated_matmul, GatedMatMul{call, Activation::silu, to, next});
      gpu.launch(kernels.matmul, call);
      if (!product.gated) return;
      const MatrixView<const float> gate(out.as<float>(), rows, columns, w.n),
          up(out.as<float>() + columns, rows, columns, w.n);
      gpu.launch(kernels.gated_mul, GatedMul{Activation::silu, gate, up, to, next});
    });
  }

  // Both kernels of BF16 on the same numbers: how far they lie apart, in parts of what FP32 may lose over such a sum.
  double distance(const Product& product) {
    const int64_t n = std::min(product.n, kComparedOutputs), k = product.tree.total_columns, rows = 3;
    std::mt19937 random(3);
    auto numbers = [&random](int64_t count) {
      std::vector<BF16> values(static_cast<size_t>(count));
      for (BF16& v : values) v = to_bf16(static_cast<float>(random() >> 8) * 0x1p-23f - 1);
      return values;
    };
    const std::vector<BF16> stored = numbers(n * k);
    Activations x{ActivationForm::bf16, nullptr, rows, k, activation_row_bytes(ActivationForm::bf16, k)};
    const std::vector<BF16> of_rows = numbers(rows * x.row_bytes / 2);
    auto upload = [this](const void* from, int64_t bytes) {
      Buffer host(static_cast<size_t>(bytes), "numbers");
      std::memcpy(host.data(), from, host.bytes());
      return gpu.upload(std::move(host), "numbers");
    };
    const Buffer in = upload(of_rows.data(), rows * x.row_bytes);
    x.data = in.data();
    std::vector<std::vector<float>> sums;
    for (PackedForm form : {PackedForm::bf16, PackedForm::bf16_rows}) {
      PackedView w{.form = form, .n = n, .k = k};
      Buffer host(static_cast<size_t>(packed_bytes(w)), "weights");
      w.data = host.data();
      pack_block({{DType::bf16}, n, k, k, reinterpret_cast<const std::byte*>(stored.data()), nullptr, nullptr}, w, 0,
                 0);
      const Buffer weights = gpu.upload(std::move(host), "weights");
      w.data = weights.data();
      const auto roots = static_cast<size_t>(product.tree.program.roots), outputs = static_cast<size_t>(rows * n);
      const size_t bytes = roots * outputs * sizeof(float);
      const Buffer out = gpu.allocate(bytes, "sums");
      const Buffer seen = gpu.allocate_pinned(bytes, "sums");
      gpu.launch(fast.matmul, MatMul{x, w, &product.tree, out.as<float>(), n, rows * n});
      gpu.copy(seen.data(), out.data(), bytes);
      gpu.synchronize();
      sums.emplace_back(outputs);
      for (size_t i = 0; i < roots * outputs; i++) sums.back()[i % outputs] += seen.as<float>()[i];
    }
    double worst = 0;
    for (size_t i = 0; i < sums[0].size(); i++) worst = std::max(worst, std::fabs(double{sums[0][i]} - sums[1][i]));
    return worst / (static_cast<double>(k) / 4 * std::sqrt(static_cast<double>(k)) * 0x1p-24);
  }

  void print(std::string_view where, const char* format, const PackedView& w, int64_t rows, const Timing& t,
             double price) const {
    const double bytes = static_cast<double>(packed_bytes(w)) / t.seconds,
                 operations = 2.0 * static_cast<double>(rows * w.n * w.k) / t.seconds;
    fmt::print(
        "{:<28} {:>4} rows  {:<8} {:>10.1f} us +-{:>3.0f} % {:>7.0f} GB/s {:>4.0f} % of copies {:>7.1f} TFLOP/s "
        "{:>4.0f} "
        "% of the peak{}\n",
        where, rows, format, t.seconds * 1e6, 50 * t.spread, bytes * 1e-9, 100 * bytes / bandwidth, operations * 1e-12,
        100 * operations / peak, std::isnan(price) ? "" : fmt::format("  price {:>+6.0f} %", 100 * price));
    std::fflush(stdout);
  }
};

// bf16: that format alone, whose prices are added to `prices`, times of all rows to their layers; else all others.
void measure(Bench& bench, bool bf16, std::string_view shape, int tp, const Product& product,
             std::span<const int64_t> all_rows, std::vector<Layer>& layers, std::vector<double>& prices) {
  const int64_t k = product.tree.total_columns;
  const std::string where = fmt::format("{} tp {} {}", shape, tp, product.name);
  const double distance = bf16 ? bench.distance(product) : 0;  // once
  if (!(distance < 1))
    fail(ExitCode::internal, "{}: standard and fast lie {:.1f} times as far apart as FP32 allows", where, distance);
  for (size_t r = 0; r < all_rows.size(); r++) {
    const int64_t rows = all_rows[r];
    PackedView plain{.form = PackedForm::bf16_rows, .n = product.n, .k = k};
    const Timing library = bench.time(bench.fast, plain, product, rows);
    bench.print(where, "cublaslt", plain, rows, library, NAN);
    if (bf16) layers[r].library += library.seconds;
    for (const Format& format : kFormats) {
      PackedView w = format.view;
      if ((w.form == PackedForm::bf16) != bf16) continue;
      w.n = product.n, w.k = k;
      if (w.form == PackedForm::e4m3_groups && !bench.gpu.kernels().inputs.e4m3) continue;
      if (is_e4m3(w.form)) w.scale_columns = static_cast<int>(product.scale_columns);
      const Timing ours = bench.time(bench.gpu.kernels(), w, product, rows);
      const double price = ours.seconds / library.seconds - 1;
      bench.print(where, format.name, w, rows, ours, price);
      if (bf16) prices.push_back(price), layers[r].ours += ours.seconds;
    }
  }
}

void print_layers(std::string_view shape, int tp, std::span<const int64_t> all_rows, std::span<const Layer> layers,
                  std::vector<double>& prices) {
  for (size_t r = 0; r < all_rows.size(); r++) {
    const Layer& layer = layers[r];
    prices.push_back(layer.ours / layer.library - 1);
    fmt::print("{:<28} {:>4} rows  standard {:.1f} us, cublaslt {:.1f} us: price {:+.0f} %\n",
               fmt::format("{} tp {} layer", shape, tp), all_rows[r], layer.ours * 1e6, layer.library * 1e6,
               100 * prices.back());
  }
  std::fflush(stdout);
}

void print_prices(const char* what, std::vector<double> prices) {
  std::sort(prices.begin(), prices.end());
  const auto within = std::count_if(prices.begin(), prices.end(), [](double p) { return p <= kTarget; });
  fmt::print(
      "the price of standard over fast in BF16, of {}: median {:+.0f} %, worst {:+.0f} %; {} of {} within {:.0f} %\n",
      what, 100 * prices[prices.size() / 2], 100 * prices.back(), within, prices.size(), 100 * kTarget);
}

}  // namespace

int main(int argc, char** argv) try {
  const bool small = argc > 1 && std::string_view(argv[1]) == "--small";
  const Environment environment = Environment::read();
  const std::vector<std::string> prefixes = environment.library_prefixes();
  auto open = [&] { return open_to_measure(environment); };
  auto skip = [](const std::string& why) {
    fmt::print("skipped: the price of standard over fast: {}\n", why);
    return kSkipped;
  };
  if (const CudaProbe probe = probe_cuda(); probe.gpus == 0) return skip(probe.missing);
  double bandwidth = 0, peak = 0;
  {
    const auto gpu = open();
    std::string missing;
    const Kernels* fast = gpu->fast_kernels(prefixes, missing);
    if (!fast) return skip("no cuBLASLt: " + missing);
    bandwidth = probe_copy_gbps(*gpu) * 1e9, peak = probe_product_gflops(*gpu, *fast) * 1e9;
    fmt::print("{}, kernels {}{}; copies {:.0f} GB/s, cuBLASLt's product of 8192 cubed {:.1f} TFLOP/s\n", gpu->name(),
               fast->level, gpu->kernels().warpgroups ? " by wgmma" : "", bandwidth * 1e-9, peak * 1e-12);
  }

  std::vector<double> of_products, of_layers;
  const std::vector<std::string_view> shapes = small ? std::vector<std::string_view>{"smollm2-135m"}
                                                     : std::vector<std::string_view>{"llama-3.1-8b", "llama-3.1-70b"};
  const std::vector<int> widths = small ? std::vector<int>{3} : std::vector<int>{1, 4};
  const std::vector<int64_t> rows = small ? std::vector<int64_t>{2} : std::vector<int64_t>{1, 16, 64, 2048};
  const auto measure_all = [&](bool bf16, std::string_view shape, int tp) {
    std::vector<Layer> layers(rows.size());
    for (const Product& product : products_of(shape, tp)) {
      const auto gpu = open();  // anew: it keeps graphs of as many figures as one product has
      std::string missing;
      const Kernels* fast = gpu->fast_kernels(prefixes, missing);
      if (!fast) fail(ExitCode::internal, "cuBLASLt has gone: {}", missing);
      Bench bench{*gpu, *fast, bandwidth, peak, small ? 0 : kPastCaches, {.fewest = small ? 1 : 3}};
      measure(bench, bf16, shape, tp, product, rows, layers, of_products);
      tell_of_graphs(*gpu);
    }
    if (bf16) print_layers(shape, tp, rows, layers, of_layers);
  };
  for (const bool bf16 : {true, false}) {  // first what the target is of
    for (std::string_view shape : shapes)
      for (int tp : widths) measure_all(bf16, shape, tp);
    if (!bf16) break;
    print_prices("single products", of_products);
    print_prices("a layer's products", of_layers);
  }
  return 0;
} catch (const Error& e) {
  fmt::print("FAILED: {}\n", e.what());
  return static_cast<int>(e.code());
}

// gpu_kernels: the CUDA kernels on the shapes of an 8B model (Llama 3.1), beside their limits measured in the same run:
// the bandwidth of copies, and the products of cuBLASLt where that library is. They are those that the program would
// take on this GPU; where BF16 goes by warpgroups, its products by warps stand beside. Rows of every product are
// checked before it is timed: the first and the last of the most against the reference (bit for bit where that is
// promised), and the first row's bits for all numbers of rows. Exit code 77 without a GPU.
//   gpu_kernels            the whole table
//   gpu_kernels --limits   what it is measured against, and no more
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "device/cuda.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/packed_layout.h"
#include "kernels/select.h"
#include "launch/environment.h"
#include "launch/probe_limits.h"
#include "launch/probe_products.h"

using namespace trireme;

namespace {

constexpr int kSkipped = 77, kRepeats = 20;
constexpr size_t kPastCaches = size_t{512} << 20;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(ExitCode::internal, "{}: the GPU reports {}", what, cudaGetErrorString(error));
}

// Memory of the GPU.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { check(cudaMalloc(&data_, bytes), "cudaMalloc"); }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  template <typename T>
  explicit DeviceMemory(const std::vector<T>& values) : DeviceMemory(values.size() * sizeof(T)) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "a copy to the GPU");
  }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

// The median of repeats, in seconds, by the GPU's clock. call(i): i counts up, so that it can take other memory each
// time.
template <typename Call>
double seconds_of(const Call& call) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "an event");
  check(cudaEventCreate(&end), "an event");
  std::vector<float> milliseconds;
  for (int i = -3; i < kRepeats; i++) {
    check(cudaEventRecord(begin), "an event");
    call(i + 3);
    check(cudaEventRecord(end), "an event");
    check(cudaGetLastError(), "a kernel");
    check(cudaEventSynchronize(end), "a kernel");
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, begin, end), "an event");
    if (i >= 0) milliseconds.push_back(elapsed);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kRepeats / 2, milliseconds.end());
  return milliseconds[kRepeats / 2] * 1e-3;
}

struct Measured {
  double bandwidth;  // bytes/s
  double flops;      // 0: unknown
};

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
                               {"f32", {.form = PackedForm::f32}}};
struct Shape {
  const char* name;
  int64_t n, k, unit;
};
constexpr Shape kShapes[] = {
    {"qkv", 6144, 4096, 128}, {"o", 4096, 4096, 128}, {"gate_up", 28672, 4096, 128}, {"down", 4096, 14336, 448}};
constexpr int64_t kRows[] = {1, 4, 16, 64, 512, 4096}, kMostF32Rows = 64;

// Bytes that are finite numbers of every format.
std::vector<uint32_t> some_weights(size_t bytes) {
  std::mt19937 random(1);
  std::vector<uint32_t> words((bytes + 3) / 4);
  for (uint32_t& u : words) u = static_cast<uint32_t>(random()) & 0x3f7e3f7eu;
  return words;
}

struct Way {
  const char* name;
  const Kernels& kernels;
  int64_t fewest_rows;  // that it is timed for
};
constexpr int kArchitectureOfWarpgroups = 90;
constexpr int64_t kFewestOfTiles = 33;  // up to 32 rows are streamed, whatever multiplies more

struct Bench {
  const Kernels& reference;
  ThreadPool& pool;  // the reference's
  Measured limits;
};

// Weights, and rows of which products of fewer take the first.
struct Product {
  std::string name;
  PackedView w;
  Contraction tree;
  std::vector<uint32_t> words;  // the weights
  std::vector<std::byte> inputs;
  Activations x;  // the inputs, on the host
};

Product make_product(Bench& bench, const Format& format, const Shape& shape) {
  PackedView w = format.view;
  w.n = shape.n, w.k = shape.k;
  if (is_e4m3(w.form)) w.scale_columns = static_cast<int>(shape.k);
  Product p{fmt::format("{:<10} {:<8}", format.name, shape.name), w,  contraction(shape.k, shape.unit),
            some_weights(static_cast<size_t>(packed_bytes(w))),   {}, {}};
  const int64_t rows = w.form == PackedForm::f32 ? kMostF32Rows : kRows[std::size(kRows) - 1];
  std::mt19937 random(2);
  std::vector<float> values(static_cast<size_t>(rows * shape.k));
  for (float& v : values) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
  const ActivationForm form = activation_form(w.form);
  p.x = {form, nullptr, rows, shape.k, activation_row_bytes(form, shape.k)};
  p.inputs.resize(static_cast<size_t>(rows * p.x.row_bytes));
  p.x.data = p.inputs.data();
  if (form == ActivationForm::f32)
    std::memcpy(p.inputs.data(), values.data(), p.inputs.size());
  else
    bench.pool.run([&](int part) {
      bench.reference.encode({part, bench.pool.size()}, {MatrixView<const float>(values.data(), rows, shape.k), p.x});
    });
  return p;
}

// A row of y against the reference's: its bits, or near it where tensor cores add in an order of their own.
void check_row(Bench& bench, const Product& p, int64_t row, const std::vector<float>& y) {
  std::vector<float> expected(static_cast<size_t>(p.w.n));
  PackedView w = p.w;
  w.data = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(p.words.data()));
  Activations x = p.x;
  x.data += row * x.row_bytes, x.rows = 1;
  bench.pool.run([&](int part) {
    bench.reference.matmul({part, bench.pool.size()}, {x, w, &p.tree, expected.data(), w.n, 0});
  });
  double distance = 0, size = 0;
  bool same = true;
  for (size_t n = 0; n < expected.size(); n++) {
    same = same && std::bit_cast<uint32_t>(expected[n]) == std::bit_cast<uint32_t>(y[n]);
    distance += (double{y[n]} - expected[n]) * (double{y[n]} - expected[n]);
    size += double{expected[n]} * expected[n];
  }
  constexpr double kNear = 1e-5;  // FP32 sums of BF16 and FP8 products, some of them cut off: errors of 2^-22 or so
  const bool ordered = x.form == ActivationForm::f32 || x.form == ActivationForm::int8;
  const bool good = ordered ? same : std::sqrt(distance / size) < kNear;
  if (!good)
    fail(ExitCode::internal, "{}: row {} is not the reference's: relative distance {}", p.name, row,
         std::sqrt(distance / size));
}

void print(const Bench& bench, const Product& p, const Way& way, int64_t rows, double seconds) {
  const double bytes = static_cast<double>(packed_bytes(p.w)), flops = 2.0 * static_cast<double>(rows * p.w.n * p.w.k);
  const double moved = bytes + static_cast<double>(rows * (p.x.row_bytes + p.w.n * int64_t{sizeof(float)}));
  const double copied = moved / bench.limits.bandwidth,
               multiplied = bench.limits.flops > 0 ? flops / bench.limits.flops : 0;
  fmt::print("{} {:>4} rows {:>10.1f} us {:>8.1f} GB/s of weights; {:>7.2f} TFLOP/s; {:>5.1f} % of the limit, {}{}\n",
             p.name, rows, seconds * 1e6, bytes / seconds * 1e-9, flops / seconds * 1e-12,
             100 * std::max(copied, multiplied) / seconds, multiplied > copied ? "cuBLASLt in BF16" : "copies",
             way.name);
}

void time_product(Bench& bench, const Format& format, const Shape& shape, std::span<const Way> ways) {
  const Product p = make_product(bench, format, shape);
  const DeviceMemory inputs(p.inputs), outputs(static_cast<size_t>(p.x.rows * p.w.n) * sizeof(float));
  std::vector<DeviceMemory> copies;  // by turns, so that no cache holds the weights of the time before
  for (size_t held = 0; held < kPastCaches || copies.size() < 2; held += 4 * p.words.size())
    copies.emplace_back(p.words);

  std::vector<float> first_row, y(static_cast<size_t>(p.w.n));
  auto read_row = [&](int64_t row) {
    check(cudaMemcpy(y.data(), outputs.as<float>() + row * p.w.n, y.size() * sizeof(float), cudaMemcpyDeviceToHost),
          p.name.c_str());
  };
  for (int64_t rows : kRows)
    for (const Way& way : ways) {
      if (rows > p.x.rows || rows < way.fewest_rows) continue;
      Activations x = p.x;
      x.data = inputs.as<std::byte>(), x.rows = rows;
      auto product = [&](int i) {
        PackedView w = p.w;
        w.data = copies[static_cast<size_t>(i) % copies.size()].as<std::byte>();
        way.kernels.matmul({}, {x, w, &p.tree, outputs.as<float>(), w.n, 0});
      };
      product(0);
      check(cudaGetLastError(), p.name.c_str());
      read_row(0);
      if (first_row.empty()) {
        first_row = y;
        check_row(bench, p, 0, y);
      }
      if (std::memcmp(first_row.data(), y.data(), y.size() * sizeof(float)) != 0)
        fail(ExitCode::internal, "{}: the first of {} rows has other bits than alone{}", p.name, rows, way.name);
      if (rows == p.x.rows) {
        read_row(rows - 1);
        check_row(bench, p, rows - 1, y);
      }
      print(bench, p, way, rows, seconds_of(product));
    }
}

// In BF16: one position more for sequences of 2048, or a prompt of so many.
void time_attention(const Kernels& gpu, double bandwidth) {
  constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128, kContext = 2048, kBlocks = kContext / kBlockTokens;
  std::vector<int32_t> kv_head_of;
  for (int h = 0; h < kHeads; h++) kv_head_of.push_back(h / (kHeads / kKvHeads));
  const DeviceMemory heads(kv_head_of);
  for (int64_t rows : {1, 16, 64}) {
    const size_t page_bytes = static_cast<size_t>(rows) * kBlocks * kKvHeads * kHeadDim * kBlockTokens * 2;
    const std::vector<uint32_t> words = some_weights(page_bytes);
    const DeviceMemory k(words), v(words), q(some_weights(static_cast<size_t>(rows) * kHeads * kHeadDim * 4));
    const DeviceMemory out(static_cast<size_t>(rows) * kHeads * kHeadDim * 4);
    std::vector<int32_t> blocks(static_cast<size_t>(rows) * kBlocks);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = static_cast<int32_t>(i);
    const DeviceMemory tables(blocks);
    std::vector<AttentionSpan> spans;
    for (int32_t r = 0; r < rows; r++) spans.push_back({r, 1, kContext - 1, tables.as<int32_t>() + r * kBlocks});
    const DeviceMemory there(spans);
    const Attention call{{q.as<float>(), rows, kHeads * kHeadDim},
                         {there.as<AttentionSpan>(), spans.size()},
                         {heads.as<int32_t>(), kHeads},
                         0.088f,
                         0,
                         0,
                         {DType::bf16, k.as<std::byte>(), v.as<std::byte>(), kKvHeads, kHeadDim, kKvHeads},
                         {out.as<float>(), rows, kHeads * kHeadDim}};
    const double seconds = seconds_of([&](int) { gpu.attention({}, call); });
    const double bytes = 2.0 * static_cast<double>(page_bytes);
    fmt::print("attention, {} of 2048 {:>10.1f} us {:>8.1f} GB/s of pages, {:>5.1f} % of copies (caches help)\n", rows,
               seconds * 1e6, bytes / seconds * 1e-9, 100 * bytes / seconds / bandwidth);
    if (rows > 1) continue;
    const DeviceMemory queries(some_weights(size_t{kContext} * kHeads * kHeadDim * 4)),
        outputs(size_t{kContext} * kHeads * kHeadDim * 4);
    const DeviceMemory prompt(std::vector<AttentionSpan>{{0, kContext, 0, tables.as<int32_t>()}});
    Attention whole = call;
    whole.q = {queries.as<float>(), kContext, kHeads * kHeadDim},
    whole.out = {outputs.as<float>(), kContext, kHeads * kHeadDim};
    whole.spans = {prompt.as<AttentionSpan>(), 1};
    const double of_prompt = seconds_of([&](int) { gpu.attention({}, whole); });
    fmt::print("attention, a prompt of 2048 {:>10.1f} us {:>7.2f} TFLOP/s in FP32\n", of_prompt * 1e6,
               2e-12 * kContext * kContext * kHeads * kHeadDim / of_prompt);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // whoever stops this has the lines so far
  if (const CudaProbe probe = probe_cuda(); probe.gpus == 0) {
    fmt::print("skipped: kernels on a GPU are not measured: {}\n", probe.missing);
    return kSkipped;
  }
  const auto device = CudaDevice::open(0, std::chrono::minutes(5));
  const Kernels& gpu = device->kernels();
  std::string missing;
  const Kernels* fast = device->fast_kernels(Environment::read().library_prefixes(), missing);
  const Measured limits{probe_copy_gbps(*device) * 1e9, fast ? probe_product_gflops(*device, *fast) * 1e9 : 0};
  fmt::print("{}{}; copies {:.0f} GB/s; cuBLASLt: {}\n", device->name(), gpu.warpgroups ? ", BF16 by wgmma" : "",
             limits.bandwidth * 1e-9,
             fast ? fmt::format("{:.0f} TFLOP/s at 8192^3 in BF16", limits.flops * 1e-12) : missing);
  if (argc > 1 && std::string_view(argv[1]) == "--limits") return 0;

  time_attention(gpu, limits.bandwidth);
  const Kernels reference = select_kernels("reference");
  ThreadPool pool(static_cast<int>(allowed_cpus().size()));
  Bench bench{reference, pool, limits};
  Kernels by_warps;
  std::vector<Way> ways{{"", gpu, 1}};
  if (gpu.warpgroups) {
    fill_cuda(by_warps, kArchitectureOfWarpgroups);
    ways.push_back({", by mma.sync", by_warps, kFewestOfTiles});
  }
  for (const Format& format : kFormats) {
    if (format.view.form == PackedForm::e4m3_groups && !gpu.e4m3_inputs) continue;
    const bool both = format.view.form == PackedForm::bf16;  // the only one that warpgroups multiply
    for (const Shape& shape : kShapes)
      time_product(bench, format, shape, std::span(ways).first(both ? ways.size() : 1));
  }
  return 0;
} catch (const Error& e) {
  fmt::print("FAILED: {}\n", e.what());
  return static_cast<int>(e.code());
}

// gpu_kernels: the CUDA kernels on the shapes of an 8B model (Llama 3.1), beside their limits measured in the same run:
// the bandwidth of copies, and the products of cuBLAS where that library is. Rows of every product are checked before
// it is timed: against the reference (bit for bit where that is promised), and the first row's bits for all numbers of
// rows. Exit code 77 without a GPU.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/packed_layout.h"
#include "kernels/select.h"

using namespace trireme;

namespace {

constexpr int kSkipped = 77, kRepeats = 20;
constexpr size_t kCopyBytes = size_t{1} << 30, kPastCaches = size_t{512} << 20;

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

double copy_bandwidth() {
  const DeviceMemory from(kCopyBytes), to(kCopyBytes);
  const double seconds = seconds_of([&](int) {
    check(cudaMemcpyAsync(to.as<void>(), from.as<void>(), kCopyBytes, cudaMemcpyDeviceToDevice), "a copy");
  });
  return 2.0 * kCopyBytes / seconds;
}

// The BF16 products of cuBLAS at 8192^3, in FLOP/s; 0 where there is no cuBLAS. Its numbers for types and modes are
// those of library_types.h and cublas_api.h.
double cublas_flops() {
  constexpr int kSize = 8192, kBf16 = 14, kF32 = 0, kComputeF32 = 68, kTransposed = 1, kPlain = 0, kDefault = -1;
  using Create = int (*)(void**);
  using Gemm = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                       const void*, void*, int, int, int, int);
  void* library = nullptr;
  for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"})
    if (!library) library = dlopen(name, RTLD_NOW);
  if (!library) return 0;
  const auto create = reinterpret_cast<Create>(dlsym(library, "cublasCreate_v2"));
  const auto multiply = reinterpret_cast<Gemm>(dlsym(library, "cublasGemmEx"));
  void* handle = nullptr;
  if (!create || !multiply || create(&handle) != 0) return 0;
  std::mt19937 random(3);
  std::vector<uint32_t> words(size_t{kSize} * kSize / 2);
  for (uint32_t& u : words) u = static_cast<uint32_t>(random()) & 0xbfffbfffu;  // below 2: random signs and sizes
  const DeviceMemory a(words), b(words), c(size_t{kSize} * kSize * sizeof(float));
  const float one = 1, zero = 0;
  int status = 0;
  const double seconds = seconds_of([&](int) {
    status |= multiply(handle, kTransposed, kPlain, kSize, kSize, kSize, &one, a.as<void>(), kBf16, kSize, b.as<void>(),
                       kBf16, kSize, &zero, c.as<void>(), kF32, kSize, kComputeF32, kDefault);
  });
  return status == 0 ? 2.0 * kSize * kSize * kSize / seconds : 0;
}

struct Limits {
  double bandwidth;  // bytes/s
  double flops;      // 0: unknown
};

struct Format {
  const char* name;
  PackedView view;
};
constexpr Format kFormats[] = {{"f32", {.form = PackedForm::f32}},
                               {"bf16", {.form = PackedForm::bf16}},
                               {"fp8", {.form = PackedForm::e4m3, .scale_type = DType::f32}},
                               {"fp8_inputs", {.form = PackedForm::e4m3_groups, .scale_type = DType::f32}},
                               {"q8", {.form = PackedForm::q8, .zero = 128}},
                               {"q4", {.form = PackedForm::q4, .has_minimum = true}},
                               {"q4_k", {.form = PackedForm::q4, .has_minimum = true, .scale_type = DType::f32}}};
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

struct Product {
  const Kernels& reference;
  const Kernels& gpu;
  PackedView w;
  Contraction tree;
  std::vector<uint32_t> words;  // the weights
};

Activations encoded(const Product& p, const std::vector<float>& x, int64_t rows, std::vector<std::byte>& bytes) {
  const ActivationForm form = activation_form(p.w.form);
  const int64_t row_bytes = activation_row_bytes(form, p.w.k);
  bytes.resize(static_cast<size_t>(rows * row_bytes));
  const Activations out{form, bytes.data(), rows, p.w.k, row_bytes};
  if (form == ActivationForm::f32)
    std::copy_n(reinterpret_cast<const std::byte*>(x.data()), bytes.size(), bytes.data());
  else
    p.reference.encode({}, {MatrixView<const float>(x.data(), rows, p.w.k), out});
  return out;
}

// A row of y against the reference's: its bits, or near it where tensor cores add in an order of their own.
void check_row(const Product& p, const char* name, Activations x, int64_t row, const float* y) {
  std::vector<float> expected(static_cast<size_t>(p.w.n));
  PackedView w = p.w;
  w.data = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(p.words.data()));
  x.data += row * x.row_bytes, x.rows = 1;
  p.reference.matmul({}, {x, w, &p.tree, expected.data(), w.n, 0});
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
    fail(ExitCode::internal, "{}: row {} is not the reference's: relative distance {}", name, row,
         std::sqrt(distance / size));
}

void time_product(const Kernels& reference, const Kernels& gpu, const Format& format, const Shape& shape,
                  const Limits& limits) {
  PackedView view = format.view;
  view.n = shape.n, view.k = shape.k;
  if (is_e4m3(view.form)) view.scale_columns = static_cast<int>(shape.k);
  const auto bytes = static_cast<size_t>(packed_bytes(view));
  const Product p{reference, gpu, view, contraction(shape.k, shape.unit), some_weights(bytes)};
  std::vector<DeviceMemory> copies;  // by turns, so that no cache holds the weights of the time before
  for (size_t held = 0; held < kPastCaches || copies.size() < 2; held += bytes) copies.emplace_back(p.words);

  std::vector<float> first_row;
  for (int64_t rows : kRows) {
    if (view.form == PackedForm::f32 && rows > kMostF32Rows) continue;
    std::mt19937 random(2);
    std::vector<float> x(static_cast<size_t>(rows * shape.k));
    for (float& v : x) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    std::vector<std::byte> in;
    const Activations here = encoded(p, x, rows, in);
    const DeviceMemory inputs(in), outputs(static_cast<size_t>(rows * shape.n) * sizeof(float));
    Activations there = here;
    there.data = inputs.as<std::byte>();
    auto product = [&](int i) {
      PackedView w = view;
      w.data = copies[static_cast<size_t>(i) % copies.size()].as<std::byte>();
      gpu.matmul({}, {there, w, &p.tree, outputs.as<float>(), shape.n, 0});
    };

    product(0);
    check(cudaGetLastError(), "a product");
    std::vector<float> y(static_cast<size_t>(rows * shape.n));
    check(cudaMemcpy(y.data(), outputs.as<void>(), y.size() * sizeof(float), cudaMemcpyDeviceToHost), "a product");
    if (first_row.empty()) {
      first_row.assign(y.begin(), y.begin() + shape.n);
      check_row(p, format.name, here, 0, y.data());
    }
    if (std::memcmp(first_row.data(), y.data(), first_row.size() * sizeof(float)) != 0)
      fail(ExitCode::internal, "{} {}: the first of {} rows has other bits than alone", format.name, shape.name, rows);
    if (rows == kMostF32Rows || rows == kRows[std::size(kRows) - 1])
      check_row(p, format.name, here, rows - 1, y.data() + (rows - 1) * shape.n);

    const double seconds = seconds_of(product), flops = 2.0 * static_cast<double>(rows * shape.n * shape.k);
    const double moved = static_cast<double>(bytes + in.size() + y.size() * sizeof(float));
    const double limit = std::max(moved / limits.bandwidth, limits.flops > 0 ? flops / limits.flops : 0);
    fmt::print(
        "{:<10} {:<8} {:>4} rows {:>10.1f} us {:>8.1f} GB/s of weights; {:>7.2f} TFLOP/s; {:>5.1f} % of the limit, "
        "{}\n",
        format.name, shape.name, rows, seconds * 1e6, static_cast<double>(bytes) / seconds * 1e-9,
        flops / seconds * 1e-12, 100 * limit / seconds, limit > moved / limits.bandwidth ? "cuBLAS in BF16" : "copies");
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
                         {DType::bf16, k.as<std::byte>(), v.as<std::byte>(), kKvHeads, kHeadDim},
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

int main() try {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    fmt::print("skipped: kernels on a GPU are not measured: {}\n",
               error != cudaSuccess ? cudaGetErrorString(error) : "there is none");
    return kSkipped;
  }
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "the GPU's properties");
  const Limits limits{copy_bandwidth(), cublas_flops()};
  fmt::print("{}, sm_{}{}; copies {:.0f} GB/s; cuBLAS {}\n", device.name, device.major, device.minor,
             limits.bandwidth * 1e-9,
             limits.flops > 0 ? fmt::format("{:.0f} TFLOP/s at 8192^3 in BF16", limits.flops * 1e-12) : "not found");
  const Kernels reference = select_kernels("reference");
  Kernels gpu;
  fill_cuda(gpu, device.major * 10 + device.minor);
  for (const Format& format : kFormats)
    for (const Shape& shape : kShapes)
      if (gpu.e4m3_inputs || format.view.form != PackedForm::e4m3_groups)
        time_product(reference, gpu, format, shape, limits);
  time_attention(gpu, limits.bandwidth);
  return 0;
} catch (const Error& e) {
  fmt::print("FAILED: {}\n", e.what());
  return static_cast<int>(e.code());
}

// gpu_kernels: the CUDA kernels on the shapes of an 8B model (Llama 3.1), beside the bandwidth of copies measured in
// the same run. First and last row of every product are checked against the reference, bit for bit, before it is timed.
// Exit code 77 without a GPU.
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <random>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"
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

struct Format {
  const char* name;
  PackedView view;
};
constexpr Format kFormats[] = {{"f32", {.form = PackedForm::f32}},
                               {"bf16", {.form = PackedForm::bf16}},
                               {"q8", {.form = PackedForm::q8, .zero = 128}},
                               {"q4", {.form = PackedForm::q4, .has_minimum = true}},
                               {"q4_k", {.form = PackedForm::q4, .has_minimum = true, .scale_type = DType::f32}}};
struct Shape {
  const char* name;
  int64_t n, k, unit;
};
constexpr Shape kShapes[] = {
    {"qkv", 6144, 4096, 128}, {"o", 4096, 4096, 128}, {"gate_up", 28672, 4096, 128}, {"down", 4096, 14336, 448}};
constexpr int64_t kRows[] = {1, 4, 16, 64};

// Bytes that are finite numbers of every format.
std::vector<uint32_t> some_weights(size_t bytes) {
  std::mt19937 random(1);
  std::vector<uint32_t> words((bytes + 3) / 4);
  for (uint32_t& u : words) u = static_cast<uint32_t>(random()) & 0xbfffbfffu & 0x3f7f3f7fu;
  return words;
}

void time_product(const Kernels& reference, const Kernels& gpu, const Format& format, const Shape& shape,
                  double bandwidth) {
  PackedView view = format.view;
  view.n = shape.n, view.k = shape.k;
  const auto bytes = static_cast<size_t>(packed_bytes(view));
  std::vector<uint32_t> words = some_weights(bytes);
  std::vector<DeviceMemory> copies;  // by turns, so that no cache holds the weights of the time before
  for (size_t held = 0; held < kPastCaches || copies.size() < 2; held += bytes) copies.emplace_back(words);
  const Contraction tree = contraction(shape.k, shape.unit);
  const ActivationForm form = activation_form(view.form);

  for (int64_t rows : kRows) {
    std::mt19937 random(2);
    std::vector<float> x(static_cast<size_t>(rows * shape.k));
    for (float& v : x) v = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    const int64_t row_bytes = activation_row_bytes(form, shape.k);
    std::vector<std::byte> encoded(static_cast<size_t>(rows * row_bytes));
    const MatrixView<const float> plain(x.data(), rows, shape.k);
    Activations in{form, encoded.data(), rows, shape.k, row_bytes};
    if (form == ActivationForm::f32)
      std::copy_n(reinterpret_cast<const std::byte*>(x.data()), encoded.size(), encoded.data());
    else
      reference.encode({}, {plain, in});
    const DeviceMemory inputs(encoded), outputs(static_cast<size_t>(rows * shape.n) * sizeof(float));
    Activations there = in;
    there.data = inputs.as<std::byte>();
    auto product = [&](int i) {
      PackedView w = view;
      w.data = copies[static_cast<size_t>(i) % copies.size()].as<std::byte>();
      gpu.matmul({}, {there, w, &tree, outputs.as<float>(), shape.n, 0});
    };

    product(0);
    check(cudaGetLastError(), "a product");
    std::vector<float> got(static_cast<size_t>(rows * shape.n)), expected(static_cast<size_t>(shape.n));
    check(cudaMemcpy(got.data(), outputs.as<void>(), got.size() * sizeof(float), cudaMemcpyDeviceToHost), "a product");
    view.data = reinterpret_cast<std::byte*>(words.data());
    for (int64_t row : {int64_t{0}, rows - 1}) {
      Activations one = in;
      one.rows = 1;
      one.data += row * row_bytes;
      reference.matmul({}, {one, view, &tree, expected.data(), shape.n, 0});
      for (size_t n = 0; n < expected.size(); n++)
        if (const float y = got[static_cast<size_t>(row * shape.n) + n];
            std::bit_cast<uint32_t>(expected[n]) != std::bit_cast<uint32_t>(y))
          fail(ExitCode::internal, "{} {}, {} rows: output {} of row {} is {}, the reference's {}", format.name,
               shape.name, rows, n, row, y, expected[n]);
    }

    const double seconds = seconds_of(product);
    fmt::print("{:<5} {:<8} {:>3} rows {:>10.1f} us {:>8.1f} GB/s of weights, {:>5.1f} % of copies; {:>7.2f} TFLOP/s\n",
               format.name, shape.name, rows, seconds * 1e6, static_cast<double>(bytes) / seconds * 1e-9,
               100 * static_cast<double>(bytes) / seconds / bandwidth,
               2e-12 * static_cast<double>(rows * shape.n * shape.k) / seconds);
  }
}

// One position more for sequences of 2048, in BF16.
void time_attention(const Kernels& gpu, double bandwidth) {
  constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128, kContext = 2048, kBlocks = kContext / kBlockTokens;
  std::vector<int32_t> kv_head_of;
  for (int h = 0; h < kHeads; h++) kv_head_of.push_back(h / (kHeads / kKvHeads));
  const DeviceMemory heads(kv_head_of);
  for (int64_t rows : {1, 16}) {
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
  const double bandwidth = copy_bandwidth();
  fmt::print("{}, sm_{}{}; copies {:.0f} GB/s\n", device.name, device.major, device.minor, bandwidth * 1e-9);
  const Kernels reference = select_kernels("reference");
  Kernels gpu;
  fill_cuda(gpu);
  for (const Format& format : kFormats)
    for (const Shape& shape : kShapes) time_product(reference, gpu, format, shape, bandwidth);
  time_attention(gpu, bandwidth);
  return 0;
} catch (const Error& e) {
  fmt::print("FAILED: {}\n", e.what());
  return static_cast<int>(e.code());
}

#include "launch/probe_products.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "kernels/unit_tree.h"

namespace trireme {

namespace {

constexpr int64_t kEdge = 8192;  // the size that GPUs' products are compared at
constexpr int kSamples = 4, kProducts = 8;
constexpr size_t kPatternBytes = size_t{1} << 20;  // drawn by one core of the host, for every buffer

}  // namespace

void fill_with_numbers(Device& device, Buffer& memory) {
  Buffer host(std::min(memory.bytes(), kPatternBytes), "numbers");
  std::mt19937 random(1);
  for (uint32_t& word : host.span<uint32_t>()) word = word_of_numbers(static_cast<uint32_t>(random()));
  const Buffer pattern = device.upload(std::move(host), "numbers");
  device.copy(memory.data(), pattern.data(), pattern.bytes());
  for (size_t filled = pattern.bytes(); filled < memory.bytes(); filled *= 2)
    device.copy(memory.data() + filled, memory.data(), std::min(filled, memory.bytes() - filled));
  device.synchronize();
}

double probe_product_gflops(Device& device, const Kernels& fast) {
  using Clock = std::chrono::steady_clock;
  PackedView w{.form = PackedForm::bf16_rows, .n = kEdge, .k = kEdge};
  Buffer weights = device.allocate(static_cast<size_t>(packed_bytes(w)), "the product probe");
  Activations x{ActivationForm::bf16, nullptr, kEdge, kEdge, activation_row_bytes(ActivationForm::bf16, kEdge)};
  Buffer rows = device.allocate(static_cast<size_t>(kEdge * x.row_bytes), "the product probe");
  const Buffer sums = device.allocate(static_cast<size_t>(kEdge * kEdge) * sizeof(float), "the product probe");
  fill_with_numbers(device, weights);
  fill_with_numbers(device, rows);
  w.data = weights.data();
  x.data = rows.data();
  const Contraction whole = contraction(kEdge, kEdge);
  double best = 0;
  for (int sample = -1; sample < kSamples; sample++) {  // -1: to warm up
    const auto start = Clock::now();
    for (int i = 0; i < kProducts; i++) device.launch(fast.matmul, MatMul{x, w, &whole, sums.as<float>(), kEdge, 0});
    device.synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (sample >= 0) best = std::max(best, 2e-9 * kEdge * kEdge * kEdge * kProducts / seconds);
  }
  return best;
}

}  // namespace trireme

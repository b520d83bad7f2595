#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/select.h"

namespace trireme::testing {

// Deterministic inputs: the engine's sequence is fixed by the standard, and the floats are made from it by hand.
class Source {
 public:
  explicit Source(uint32_t seed) : engine_(seed) {}
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }
  int below(int n) { return static_cast<int>(bits() % static_cast<uint32_t>(n)); }
  // About normal: the sum of four uniforms.
  float value(float size = 1) {
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += static_cast<float>(bits() >> 8) * 0x1p-24f - 0.5f;
    return sum * 1.7f * size;
  }
  std::vector<float> values(size_t count, float size = 1) {
    std::vector<float> out(count);
    for (float& x : out) x = value(size);
    return out;
  }
  // Zeros, subnormals, tiny and huge values among ordinary ones: FP32's, or FP16's.
  std::vector<float> extremes(size_t count, bool of_f16 = false) {
    constexpr float f32[] = {0.0f, -0.0f, 1e-42f, -3e-39f, 1e-20f, -1e-30f, 1e15f, -3e14f, 1.0f, -127.0f};
    constexpr float f16[] = {0.0f, -0.0f, 0x1p-24f, -0x1.8p-23f, 0x1p-15f, -1e-30f, 3e4f, -6e4f, 1.0f, -127.0f};
    std::vector<float> out = values(count);
    for (float& x : out)
      if (below(3) == 0) x = (of_f16 ? f16 : f32)[below(10)];
    return out;
  }

 private:
  std::mt19937 engine_;
};

// Memory aligned to 64 bytes with a canary at either end; `intact` says whether nobody wrote there.
class Guarded {
 public:
  explicit Guarded(size_t bytes) : bytes_(bytes), memory_(bytes + 3 * kMargin, kCanary) {
    auto address = reinterpret_cast<uintptr_t>(memory_.data());
    begin_ = (address + kMargin + 63) / 64 * 64 - address;
    for (size_t i = 0; i < bytes; i++) memory_[begin_ + i] = 0;
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(memory_.data() + begin_); }
  float* floats() { return reinterpret_cast<float*>(data()); }
  size_t bytes() const { return bytes_; }
  std::span<std::byte> span() { return {data(), bytes_}; }
  bool intact() const {
    for (size_t i = 0; i < memory_.size(); i++)
      if ((i < begin_ || i >= begin_ + bytes_) && memory_[i] != kCanary) return false;
    return true;
  }

 private:
  static constexpr size_t kMargin = 256;
  static constexpr uint8_t kCanary = 0xA5;
  size_t bytes_, begin_;
  std::vector<uint8_t> memory_;
};

// Equal bits, or both NaN (the sign and payload of a NaN are the machine's business).
inline bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a != a && b != b);
}

inline bool same_floats(const float* a, const float* b, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!same(a[i], b[i])) return false;
  return true;
}

inline bool on_real_gpu = false;  // cuda/on_gpu.cpp

// Whether a level gives the reference's bits with such inputs: all but the tensor cores of a real GPU, which add BF16,
// FP16 and FP8 products in an order of their own.
inline bool has_bits_of_reference(std::string_view level, ActivationForm form) {
  return !on_real_gpu || level != "cuda" || form == ActivationForm::f32 || form == ActivationForm::int8;
}

inline constexpr ActivationForm kActivationForms[] = {ActivationForm::f32, ActivationForm::f16, ActivationForm::bf16,
                                                      ActivationForm::int8, ActivationForm::e4m3};
inline constexpr std::span<const ActivationForm> kEncodedForms = std::span(kActivationForms).subspan(1);

// How a matrix is stored, and whether it is packed for FP16 or FP8 inputs.
struct Format : WeightFormat {
  InputForms inputs;
  Format(const WeightFormat& stored, InputForms packed_for = {}) : WeightFormat(stored), inputs(packed_for) {}
};

// A packed matrix of random weights in one of the forms that products know, and what it was packed from.
struct Weights {
  Format format;
  PackedView view;
  Guarded memory;
  std::vector<std::byte> values, scales, minimums;
  StoredBlock block;
};

inline WeightFormat plain(DType type) { return {.type = type}; }
inline WeightFormat quantized(int bits, int group, int zero) { return {DType::f16, bits, group, zero, false}; }
inline WeightFormat with_minimum(int bits, int group) { return {DType::f16, bits, group, 0, true}; }
inline WeightFormat fp8(int columns) { return {DType::f32, 8, columns, 0, false, true}; }
inline Format fp8_inputs(int columns) { return {fp8(columns), {.e4m3 = true}}; }
inline Format f16_inputs() { return {plain(DType::f16), {.f16 = true}}; }
// Those that multiply such weights.
inline std::vector<std::string_view> levels_of(const Format& format) {
  std::vector<std::string_view> levels = available_levels();
  const bool e4m3 = format.inputs.e4m3;
  std::erase_if(levels, [&](auto level) { return e4m3 && level == "cuda" && !select_kernels(level).inputs.e4m3; });
  return levels;
}
inline std::string name_of(const Format& format) {
  return format_name(format) + (format.inputs.e4m3 ? " with FP8 inputs" : format.inputs.f16 ? " with FP16 inputs" : "");
}

// One of every kind that is packed in its own way, and the K-quants' FP32 scales, by 32 and by 16 columns.
inline const Format kFormats[] = {plain(DType::f32),
                                  plain(DType::f16),
                                  plain(DType::bf16),
                                  quantized(4, 32, 8),
                                  with_minimum(4, 32),
                                  quantized(8, 32, 128),
                                  with_minimum(8, 64),
                                  quantized(4, 128, 8),
                                  quantized(4, 128, 0),
                                  quantized(8, 32, 8),
                                  quantized(4, 16, 8),
                                  WeightFormat{DType::f32, 4, 32, 0, true},
                                  WeightFormat{DType::f32, 8, 32, 0, true},
                                  WeightFormat{DType::f32, 8, 32, 128, false},
                                  WeightFormat{DType::f32, 8, 16, 128, false},
                                  WeightFormat{DType::f32, 4, 16, 8, false},
                                  WeightFormat{DType::f32, 4, 16, 0, true},
                                  fp8(128),
                                  fp8_inputs(128),
                                  f16_inputs()};

Weights random_weights(const Format& format, bool exact, int64_t n, int64_t k, uint32_t seed);

// Rows encoded for products with such weights, by the reference.
struct Rows {
  Activations view;
  Guarded memory;
};
Rows encode_rows(PackedForm form, const std::vector<float>& x, int64_t rows, int64_t columns);

// y of one level, [roots][rows][n]; what lies beside it must stay as it was. workspace: Launch's.
std::vector<float> product(const Kernels& kernels, const Rows& x, const Weights& w, const Contraction& c, int parts,
                           std::span<std::byte> workspace = {});

// Calls f as a team of `parts` would, one part after the other.
template <typename F>
void each_part(int parts, const F& f) {
  for (int part = 0; part < parts; part++) f(Launch{part, parts, nullptr});
}

// Teams to try at a level: whoever launches a GPU's kernels is alone.
inline std::vector<int> teams_of(std::string_view level, const std::vector<int>& parts) {
  return level.starts_with("cuda") ? std::vector<int>{1} : parts;
}

}  // namespace trireme::testing

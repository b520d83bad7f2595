#include "model/row_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace trireme {

namespace {

constexpr int kGroup = kEncodedGroup;

template <typename T>
T load(const std::byte* from, int64_t index) {
  T value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}
template <typename T>
void store(std::byte* to, int64_t index, T value) {
  std::memcpy(to + index * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

float plain_value(DType type, const std::byte* from, int64_t index) {
  if (type == DType::f32) return load<float>(from, index);
  if (type == DType::f16) return to_float(load<F16>(from, index));
  return to_float(load<BF16>(from, index));
}

constexpr float kLargestF16 = 65504;
F16 within_f16(float x) { return to_f16(std::clamp(x, -kLargestF16, kLargestF16)); }
float rounded_to_f16(float x) { return to_float(within_f16(x)); }

// |x| <= 2^21, to nearest even, without a call.
int nearest(float x) {
  constexpr float kShift = 12582912;  // 1.5 * 2^23: the sum's last bit is worth 1
  return std::bit_cast<int32_t>(x + kShift) - std::bit_cast<int32_t>(kShift);
}

// A group's codes under one choice of scale and minimum: value = code * scale + minimum, code in [low, high].
struct Choice {
  float scale = 0, minimum = 0;  // FP16 values
  int codes[kGroup] = {};
  float squares = std::numeric_limits<float>::infinity();  // of the errors
};

// In FP32 in a fixed order: eight lanes, added at the end.
float sum_of(const float (&lanes)[8]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void choose_codes(const float* x, float low, float high, Choice& c) {
  const float inverse = c.scale != 0 ? 1 / c.scale : 0;
  float lanes[8] = {};
  for (int i = 0; i < kGroup; i++) {
    const float code = std::clamp((x[i] - c.minimum) * inverse, low, high);
    c.codes[i] = nearest(code);
    const float wrong = x[i] - (static_cast<float>(c.codes[i]) * c.scale + c.minimum);
    lanes[i % 8] += wrong * wrong;
  }
  c.squares = sum_of(lanes);
}

// The scale and minimum of least squares for given codes; false when they do not say.
bool fit(const float* x, const Choice& c, bool with_minimum, float* scale, float* minimum) {
  float codes = 0, squares = 0, values = 0, products = 0;
  for (int i = 0; i < kGroup; i++) {
    const float code = static_cast<float>(c.codes[i]);
    codes += code, squares += code * code, values += x[i], products += code * x[i];
  }
  if (!with_minimum) {
    *scale = products / squares;
    return squares > 0;
  }
  const float determinant = kGroup * squares - codes * codes;
  *scale = (kGroup * products - codes * values) / determinant;
  *minimum = (squares * values - codes * products) / determinant;
  return determinant > 0 && *scale > 0;
}

// From a first guess: code, fit, code again.
void improve(const float* x, float scale, float minimum, float low, float high, bool with_minimum, Choice* best) {
  Choice c{rounded_to_f16(scale), rounded_to_f16(minimum)};
  choose_codes(x, low, high, c);
  if (c.squares < best->squares) *best = c;
  if (!fit(x, c, with_minimum, &scale, &minimum)) return;
  c.scale = rounded_to_f16(scale), c.minimum = rounded_to_f16(minimum);
  choose_codes(x, low, high, c);
  if (c.squares < best->squares) *best = c;
}

Choice eight_bits(const float* x) {
  float largest = 0;
  for (int i = 0; i < kGroup; i++) largest = std::max(largest, std::fabs(x[i]));
  Choice best;
  improve(x, largest / 127, 0, -127, 127, false, &best);
  return best;
}

// Narrower than the values' range is often better: the few at its ends are cut, the many inside get finer steps.
Choice four_bits(const float* x) {
  constexpr float kWidths[] = {1.0f, 0.96f, 0.92f, 0.88f, 0.84f, 0.78f};
  const auto [least, most] = std::minmax_element(x, x + kGroup);
  const float middle = *least / 2 + *most / 2, half = *most / 2 - *least / 2;
  Choice best;
  for (float width : kWidths) improve(x, half * width / 7.5f, middle - half * width, 0, 15, true, &best);
  return best;
}

void add_error(float value, float decoded, EncodingError* error) {
  const double wrong = static_cast<double>(value) - static_cast<double>(decoded);
  error->squares += wrong * wrong;
  error->signal += static_cast<double>(value) * static_cast<double>(value);
}

bool encode_group(const float* x, const WeightFormat& f, int64_t group, RowParts<std::byte> to, EncodingError* error) {
  for (int i = 0; i < kGroup; i++)
    if (!std::isfinite(x[i])) return false;
  const Choice c = f.bits == 8 ? eight_bits(x) : four_bits(x);
  store(to.parts[1], group, within_f16(c.scale));
  if (f.has_minimum) store(to.parts[2], group, within_f16(c.minimum));
  std::byte* codes = to.parts[0] + f.row_bytes(kGroup) * group;
  for (int i = 0; i < kGroup; i++) {
    const auto code = static_cast<unsigned>(c.codes[i] + f.zero);
    if (f.bits == 8)
      codes[i] = static_cast<std::byte>(code);
    else
      codes[i / 2] = i % 2 == 0 ? static_cast<std::byte>(code) : codes[i / 2] | static_cast<std::byte>(code << 4);
    add_error(x[i], static_cast<float>(c.codes[i]) * c.scale + c.minimum, error);
  }
  return true;
}

// A row of a unit in FP8, one scale for it.
bool encode_e4m3(std::span<const float> values, RowParts<std::byte> to, EncodingError* error) {
  float largest = 0;
  for (float x : values) {
    if (!std::isfinite(x)) return false;
    largest = std::max(largest, std::fabs(x));
  }
  const float scale = largest / kLargestE4M3;
  store(to.parts[1], 0, scale);
  for (size_t i = 0; i < values.size(); i++) {
    const E4M3 code = scale > 0 ? to_e4m3(values[i] / scale) : E4M3{0};
    to.parts[0][i] = std::byte{code.bits};
    add_error(values[i], to_float(code) * scale, error);
  }
  return true;
}

}  // namespace

uint64_t row_part_bytes(const WeightFormat& f, int part, int64_t columns) {
  if (part == 0) return static_cast<uint64_t>(f.row_bytes(columns));
  const bool there = f.quantized() && (part == 1 || f.has_minimum);
  return there ? static_cast<uint64_t>((columns + f.group - 1) / f.group * dtype_bytes(f.type)) : 0;
}

void decode_row(const WeightFormat& f, RowParts<const std::byte> from, std::span<float> values) {
  const auto [codes, scales, minimums] = from.parts;
  const auto count = std::ssize(values);
  if (!f.quantized()) {
    for (int64_t i = 0; i < count; i++) values[static_cast<size_t>(i)] = plain_value(f.type, codes, i);
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    const int64_t group = i / f.group;
    if (f.e4m3) {
      values[static_cast<size_t>(i)] = to_float(load<E4M3>(codes, i)) * load<float>(scales, group);
      continue;
    }
    const int code =
        f.bits == 8 ? std::to_integer<int>(codes[i]) : std::to_integer<int>(codes[i / 2]) >> (i % 2 * 4) & 15;
    const float scale = plain_value(f.type, scales, group);
    values[static_cast<size_t>(i)] = f.has_minimum
                                         ? static_cast<float>(code) * scale + plain_value(f.type, minimums, group)
                                         : static_cast<float>(code - f.zero) * scale;
  }
}

bool encode_row(std::span<const float> values, const WeightFormat& f, RowParts<std::byte> to, EncodingError* error) {
  const auto count = std::ssize(values);
  if (f.e4m3) {
    must(count <= f.group, "FP8 is encoded a unit's row at a time");
    return encode_e4m3(values, to, error);
  }
  if (f.quantized()) {
    must((f == kInt8 || f == kInt4) && count % kGroup == 0, "quantized are whole groups in our two formats");
    for (int64_t g = 0; g < count / kGroup; g++)
      if (!encode_group(values.data() + g * kGroup, f, g, to, error)) return false;
    return true;
  }
  must(f.type == DType::f32 || f.type == DType::bf16, "plain values are written as FP32 or BF16");
  if (f.type == DType::f32) {
    std::memcpy(to.parts[0], values.data(), values.size_bytes());
    return true;
  }
  for (int64_t i = 0; i < count; i++) {
    const float x = values[static_cast<size_t>(i)];
    const BF16 rounded = to_bf16(x);
    store(to.parts[0], i, rounded);
    if (std::isfinite(x)) add_error(x, to_float(rounded), error);
  }
  return true;
}

}  // namespace trireme

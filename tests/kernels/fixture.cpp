#include "fixture.h"

#include <doctest/doctest.h>

namespace trireme::testing {

namespace {

uint16_t stored_bits(DType type, float value) {
  if (type == DType::bf16) return to_bf16(value).bits;
  // FP16 by truncation of the FP32 value, which must be in FP16's normal range.
  uint32_t u = std::bit_cast<uint32_t>(value);
  if ((u & 0x7fffffffu) < 0x38800000u) return static_cast<uint16_t>(u >> 16 & 0x8000u);
  return static_cast<uint16_t>((u >> 16 & 0x8000u) | (((u & 0x7fffffffu) - 0x38000000u) >> 13));
}

std::vector<std::byte> stored_values(DType type, const std::vector<float>& values) {
  std::vector<std::byte> out(values.size() * static_cast<size_t>(dtype_bytes(type)));
  for (size_t i = 0; i < values.size(); i++) {
    uint16_t bits = stored_bits(type, values[i]);
    if (type == DType::f32)
      std::memcpy(out.data() + 4 * i, &values[i], 4);
    else
      std::memcpy(out.data() + 2 * i, &bits, 2);
  }
  return out;
}

}  // namespace

Weights random_weights(const Format& format, bool exact, int64_t n, int64_t k, uint32_t seed) {
  Source source(seed);
  PackedView view = packed_form(format, {exact ? Numerics::exact : Numerics::standard, format.inputs});
  view.n = n, view.k = k;
  Weights w{format, view, Guarded(static_cast<size_t>(packed_bytes(view))), {}, {}, {}, {}};
  int64_t stored = (k + format.group - 1) / format.group * format.group, groups = stored / format.group;
  if (format.bits == 4) stored = (stored + 1) / 2 * 2;
  w.view.data = w.memory.data();
  if (format.quantized()) {
    w.values.resize(static_cast<size_t>(n * format.row_bytes(stored)));
    for (std::byte& b : w.values) {
      b = static_cast<std::byte>(source.below(256));
      if (format.e4m3 && (b | std::byte{0x80}) == std::byte{0xff}) b ^= std::byte{1};  // no NaN
    }
    std::vector<float> scales(static_cast<size_t>(n * groups)), minimums(scales.size());
    for (float& x : scales) x = 0.01f + 0.02f * std::fabs(source.value());
    if (format.type == DType::f32)  // K-quants have scales below zero
      for (size_t i = 0; i < scales.size(); i += 3) scales[i] = -scales[i];
    for (float& x : minimums) x = source.value(0.2f);
    w.scales = stored_values(format.type, scales);
    if (format.has_minimum) w.minimums = stored_values(format.type, minimums);
  } else {
    w.values = stored_values(format.type, source.values(static_cast<size_t>(n * stored)));
  }
  w.block = {format, n, k, stored, w.values.data(), w.scales.data(), w.minimums.data()};
  pack_block(w.block, w.view, 0, 0);
  return w;
}

Rows encode_rows(PackedForm form, const std::vector<float>& x, int64_t rows, int64_t columns) {
  ActivationForm to = activation_form(form);
  int64_t row_bytes = activation_row_bytes(to, columns);
  Rows out{{to, nullptr, rows, columns, row_bytes}, Guarded(static_cast<size_t>(rows * row_bytes))};
  out.view.data = out.memory.data();
  if (to == ActivationForm::f32) {
    for (int64_t i = 0; i < rows; i++)
      std::memcpy(out.view.data + i * row_bytes, x.data() + i * columns, static_cast<size_t>(columns) * 4);
    return out;
  }
  select_kernels("reference").encode({}, {MatrixView<const float>(x.data(), rows, columns), out.view});
  return out;
}

std::vector<float> product(const Kernels& kernels, const Rows& x, const Weights& w, const Contraction& c, int parts,
                           std::span<std::byte> workspace) {
  int64_t rows = x.view.rows, n = w.view.n, stride = n + 5;
  auto roots = static_cast<size_t>(c.program.roots);
  Guarded y(roots * static_cast<size_t>(rows * stride) * 4);
  std::fill_n(y.floats(), y.bytes() / 4, NAN);
  each_part(parts, [&](Launch launch) {
    launch.workspace = workspace;
    kernels.matmul(launch, {x.view, w.view, &c, y.floats(), stride, rows * stride});
  });
  CHECK(y.intact());
  std::vector<float> out;
  for (int64_t i = 0; i < static_cast<int64_t>(roots) * rows; i++) {
    out.insert(out.end(), y.floats() + i * stride, y.floats() + i * stride + n);
    for (int64_t pad = n; pad < stride; pad++) CHECK(std::isnan(y.floats()[i * stride + pad]));
  }
  return out;
}

}  // namespace trireme::testing

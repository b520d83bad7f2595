#include "kernels/packed_matrix.h"

#include <doctest/doctest.h>

#include "fixture.h"

namespace trireme::testing {

namespace {

float scale_at(const std::vector<std::byte>& data, DType type, int64_t i) {
  return type == DType::f16 ? to_float(reinterpret_cast<const F16*>(data.data())[i])
                            : reinterpret_cast<const float*>(data.data())[i];
}

// The stored value by its definition in base/weight_format.h.
float stored_value(const Weights& w, int64_t n, int64_t k) {
  const WeightFormat& f = w.format;
  int64_t at = n * w.block.stored_columns + k, group = at / f.group;
  const std::byte* values = w.values.data();
  if (!f.quantized()) {
    if (f.type == DType::f32) return reinterpret_cast<const float*>(values)[at];
    if (f.type == DType::f16) return to_float(reinterpret_cast<const F16*>(values)[at]);
    return to_float(reinterpret_cast<const BF16*>(values)[at]);
  }
  int byte = std::to_integer<int>(values[f.bits == 8 ? at : at / 2]);
  if (f.e4m3) return to_float(E4M3{static_cast<uint8_t>(byte)}) * scale_at(w.scales, f.type, group);
  int code = f.bits == 8 ? byte : at % 2 == 0 ? byte & 15 : byte >> 4;
  if (f.has_minimum)
    return static_cast<float>(code) * scale_at(w.scales, f.type, group) + scale_at(w.minimums, f.type, group);
  return static_cast<float>(code - f.zero) * scale_at(w.scales, f.type, group);
}

}  // namespace

TEST_CASE("what a format is packed to") {
  using enum Numerics;
  const auto form = [](const WeightFormat& format, Numerics numerics) { return packed_form(format, numerics).form; };
  CHECK(form(plain(DType::f32), standard) == PackedForm::f32);
  for (Numerics numerics : {standard, exact, fast}) CHECK(form(plain(DType::f16), numerics) == PackedForm::f16);
  for (Numerics numerics : {standard, fast})
    CHECK(packed_form(plain(DType::f16), {numerics, {.f16 = true}}).form == PackedForm::f16_pairs);
  CHECK(packed_form(plain(DType::f16), {exact, {.f16 = true}}).form == PackedForm::f16);
  CHECK(form(plain(DType::bf16), standard) == PackedForm::bf16);
  CHECK(form(plain(DType::bf16), exact) == PackedForm::f32);
  CHECK(form(plain(DType::bf16), fast) == PackedForm::bf16_rows);
  CHECK(form(with_minimum(4, 32), fast) == PackedForm::q4);
  CHECK(form(with_minimum(4, 32), standard) == PackedForm::q4);
  CHECK(form(with_minimum(4, 32), exact) == PackedForm::f32);
  CHECK(form(quantized(8, 64, 128), standard) == PackedForm::q8);
  CHECK(form(quantized(4, 32, 3), standard) == PackedForm::f32);
  CHECK(form(quantized(4, 48, 8), standard) == PackedForm::f32);
  CHECK(form({DType::f32, 4, 32, 0, true}, standard) == PackedForm::q4);
  CHECK(form(fp8(96), standard) == PackedForm::e4m3);
  CHECK(form(fp8(96), exact) == PackedForm::f32);
  CHECK(packed_form(fp8(96), {standard, {.e4m3 = true}}).form == PackedForm::e4m3_groups);
  CHECK(packed_form(fp8(96), {exact, {.e4m3 = true}}).form == PackedForm::f32);
  // Groups of 16 have FP32 scales whatever the format's are.
  const PackedView halves = packed_form(quantized(4, 16, 8), standard),
                   wide = packed_form(quantized(8, 64, 128), standard);
  CHECK(halves.scale_type == DType::f32);
  CHECK(halves.scale_columns == 16);
  CHECK(wide.scale_type == DType::f16);
  CHECK(wide.scale_columns == 32);
}

TEST_CASE("sizes round up to whole panels, pairs and groups") {
  CHECK(packed_bytes({.form = PackedForm::f32, .n = 65, .k = 3}) == 2 * 3 * 64 * 4);
  CHECK(packed_bytes({.form = PackedForm::f16, .n = 65, .k = 3}) == 2 * 3 * 64 * 2);
  for (PackedForm form : {PackedForm::bf16, PackedForm::f16_pairs})
    CHECK(packed_bytes({.form = form, .n = 64, .k = 3}) == 2 * 64 * 2 * 2);
  CHECK(packed_bytes({.form = PackedForm::bf16_rows, .n = 65, .k = 9}) == 65 * 16 * 2);
  CHECK(packed_bytes({.form = PackedForm::q8, .n = 33, .k = 32}) == 2 * (1024 + 64));
  CHECK(packed_bytes({.form = PackedForm::q4, .has_minimum = true, .n = 32, .k = 33}) == 2 * (512 + 128));
  CHECK(packed_bytes({.form = PackedForm::q8, .scale_type = DType::f32, .scale_columns = 16, .n = 32, .k = 32}) ==
        1024 + 256);
  CHECK(packed_bytes({.form = PackedForm::e4m3, .scale_columns = 2, .n = 65, .k = 5}) == 2 * (6 * 64 + 3 * 64 * 4));
}

TEST_CASE("borders: panels of 64 outputs, and any column where columns are neither in pairs nor in groups") {
  for (PackedForm form : {PackedForm::f32, PackedForm::f16}) {
    const PackedView w{.form = form, .n = 200, .k = 40};
    CHECK(packed_panel(w, 63) == 0);
    CHECK(packed_panel(w, 191) == 128);
    CHECK(packed_border_n(w, 128));
    CHECK_FALSE(packed_border_n(w, 96));
    for (int64_t k : {1, 2, 7, 32}) CHECK(packed_border_k(w, k));
  }
  for (PackedForm form : {PackedForm::bf16, PackedForm::f16_pairs}) CHECK_FALSE(packed_border_k({.form = form}, 7));
  CHECK_FALSE(packed_border_k({.form = PackedForm::q8}, 16));
}

TEST_CASE("every value comes back as it was stored, in both modes") {
  for (const Format& format : kFormats)
    for (bool exact : {false, true})
      for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 128}, {33, 128}, {70, 256}, {64, 100}}) {
        Weights w = random_weights(format, exact, n, k, 7);
        CAPTURE(name_of(format));
        CHECK(w.memory.intact());
        for (int64_t i = 0; i < n; i++)
          for (int64_t j = 0; j < k; j++) REQUIRE(same(packed_value(w.view, i, j), stored_value(w, i, j)));
      }
}

TEST_CASE("plain rows for a library: values stand side by side, rows begin every 16 bytes, zeros between") {
  for (auto [n, k] : {std::pair<int64_t, int64_t>{3, 8}, {5, 45}, {70, 33}}) {
    Weights w = random_weights(plain(DType::bf16), false, n, k, 5);
    PackedView view = packed_form(w.format, Numerics::fast);
    view.n = n, view.k = k;
    Guarded memory(static_cast<size_t>(packed_bytes(view)));
    view.data = memory.data();
    const int64_t cut = k / 2;  // in two rectangles
    StoredBlock left = w.block, right = w.block;
    left.columns = cut;
    right.columns -= cut, right.values += cut * 2;
    pack_block(left, view, 0, 0);
    pack_block(right, view, 0, cut);
    CHECK(memory.intact());
    const BF16* rows = reinterpret_cast<const BF16*>(memory.data());
    const int64_t stride = (k + 7) / 8 * 8;
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < stride; j++) {
        const float value = to_float(rows[i * stride + j]);
        REQUIRE(same(value, j < k ? stored_value(w, i, j) : 0));
        if (j < k) REQUIRE(same(packed_value(view, i, j), value));
      }
  }
}

TEST_CASE("a matrix packed in rectangles is the matrix packed at once") {
  for (const Format& format : kFormats) {
    Weights w = random_weights(format, false, 96, 256, 11);
    Guarded memory(w.memory.bytes());
    PackedView view = w.view;
    view.data = memory.data();
    for (int64_t n0 : {0, 32, 64})
      for (int64_t k0 : {0, 128}) {
        StoredBlock block = w.block;
        block.rows = 32, block.columns = 128;
        block.values += n0 * format.row_bytes(256) + format.row_bytes(k0);
        if (format.quantized()) block.scales += dtype_bytes(format.type) * (n0 * 256 + k0) / format.group;
        if (format.has_minimum) block.minimums += dtype_bytes(format.type) * (n0 * 256 + k0) / format.group;
        pack_block(block, view, n0, k0);
      }
    CHECK(std::memcmp(memory.data(), w.memory.data(), memory.bytes()) == 0);
  }
}

TEST_CASE("parts packed alone and moved are the matrix packed at once: cut at any column, at any panel") {
  for (const Format& format : {Format(plain(DType::f32)), Format(plain(DType::f16))}) {
    CAPTURE(name_of(format));
    constexpr int64_t kN = 150, kK = 45;
    Weights w = random_weights(format, false, kN, kK, 12);
    Guarded memory(w.memory.bytes()), apart(w.memory.bytes());
    for (const auto& [n0, n1] : {std::pair<int64_t, int64_t>{0, 64}, {64, kN}})
      for (const auto& [k0, k1] : {std::pair<int64_t, int64_t>{0, 7}, {7, 8}, {8, kK}}) {
        PackedView part = w.view;
        part.data = apart.data(), part.n = n1 - n0, part.k = k1 - k0;
        std::memset(part.data, 0, static_cast<size_t>(packed_bytes(part)));
        StoredBlock block = w.block;
        block.rows = part.n, block.columns = part.k;
        block.values += format.row_bytes(n0 * kK + k0);
        pack_block(block, part, 0, 0);
        for (const PackedRuns& runs : packed_runs(part, w.view, n0, k0))
          for (int64_t i = 0; i < runs.count; i++)
            std::memcpy(memory.data() + runs.to + i * runs.to_stride, part.data + runs.from + i * runs.from_stride,
                        static_cast<size_t>(runs.bytes));
      }
    CHECK(apart.intact());
    CHECK(memory.intact());
    CHECK(std::memcmp(memory.data(), w.memory.data(), memory.bytes()) == 0);
  }
}

}  // namespace trireme::testing

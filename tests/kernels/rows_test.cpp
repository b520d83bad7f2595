#include <algorithm>

#include "check_levels.h"

namespace trireme::testing {

namespace {

std::vector<UnitRange> every_unit(int units) {
  std::vector<UnitRange> each;
  for (int u = 0; u < units; u++) each.push_back({u, u + 1});
  return each;
}

}  // namespace

TEST_CASE("gather_rows brings rows of several matrices together, at every level") {
  for (int64_t columns : kColumns) {
    Source source(2);
    const std::vector<float> x = source.extremes(static_cast<size_t>(9 * columns));
    const std::vector<const float*> matrices = {x.data(), x.data() + 6 * columns};
    const std::vector<RowPlace> places = {{1, 2}, {0, 0}, {0, 3}, {0, 3}, {1, 0}};
    check_levels(places.size() * static_cast<size_t>(columns) * 4, [&](const Kernels& kernels, const Launch& launch,
                                                                       Guarded& out) {
      kernels.gather_rows(launch, {matrices, columns, places, {out.floats(), 5, columns}});
      if (launch.part + 1 < launch.parts) return;
      int64_t i = 0;
      for (int64_t row : {8, 0, 3, 3, 6})
        CHECK(same_floats(out.floats() + i++ * columns, x.data() + row * columns, static_cast<size_t>(columns)));
    });
  }
}

TEST_CASE("take_rows brings rows in the order of a list, at every level") {
  for (int64_t columns : kColumns) {
    const std::vector<float> x = Source(2).extremes(static_cast<size_t>(9 * (columns + 3)));
    const std::vector<int32_t> rows = {8, 0, -1, 3, 3, 6};
    check_levels(rows.size() * static_cast<size_t>(columns) * 4,
                 [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
                   kernels.take_rows(launch, {{x.data(), 9, columns, columns + 3}, rows, {out.floats(), 6, columns}});
                   if (launch.part + 1 < launch.parts) return;
                   const std::vector<float> left(static_cast<size_t>(columns));
                   for (size_t i = 0; i < rows.size(); i++)
                     CHECK(same_floats(out.floats() + static_cast<int64_t>(i) * columns,
                                       rows[i] < 0 ? left.data() : x.data() + rows[i] * (columns + 3), left.size()));
                 });
  }
}

TEST_CASE("rms_norm: x / sqrt(mean of squares + epsilon) * weight") {
  const std::vector<float> x = {3, 4, 0, 0}, weight = {1, 2, 1, 1};
  float out[4];
  select_kernels("reference").rms_norm({}, {{x.data(), 1, 4}, weight, 0, {out, 1, 4}});
  CHECK(out[0] == doctest::Approx(1.2));
  CHECK(out[1] == doctest::Approx(3.2));
  CHECK(out[2] == 0);
}

TEST_CASE("rms_norm: every level gives the reference's bits, also in place") {
  for (int64_t columns : kColumns) {
    Source source(1);
    std::vector<float> x = source.extremes(static_cast<size_t>(7 * columns)),
                       weight = source.values(static_cast<size_t>(columns));
    check_levels(x.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      if (launch.part == 0) std::copy(x.begin(), x.end(), out.floats());
      kernels.rms_norm(launch, {{out.floats(), 7, columns}, weight, 1e-5f, {out.floats(), 7, columns}});
    });
  }
}

TEST_CASE("rms_norm: with a shorter weight each run of its columns is normed by itself, as if it were a row") {
  for (int64_t columns : {1, 6, 64, 65}) {
    Source source(1);
    std::vector<float> x = source.values(static_cast<size_t>(7 * 3 * columns)),
                       weight = source.values(static_cast<size_t>(columns)), rows(x.size());
    select_kernels("reference").rms_norm({}, {{x.data(), 21, columns}, weight, 1e-5f, {rows.data(), 21, columns}});
    check_levels(x.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      kernels.rms_norm(launch, {{x.data(), 7, 3 * columns}, weight, 1e-5f, {out.floats(), 7, 3 * columns}});
      if (launch.part + 1 == launch.parts) CHECK(same_floats(out.floats(), rows.data(), rows.size()));
    });
  }
}

TEST_CASE("sum_squares and norm_by_squares: the norm of a row whose heads others hold as well") {
  const std::vector<float> x = {3, 4, 0, 12, 1, 0}, weight = {1, 2, 1, 1, 1, 1};
  float squares[3];
  Kernels reference = select_kernels("reference");
  reference.sum_squares({}, {{x.data(), 1, 6}, 2, {squares, 1, 3}});
  CHECK(squares[0] == 25);
  CHECK(squares[1] == 144);
  CHECK(squares[2] == 1);
  float held[] = {3, 4};  // of the six columns
  reference.norm_by_squares({}, {{held, 1, 2}, {weight.data(), 2}, {squares, 1, 3}, 6, 0});
  CHECK(held[0] == doctest::Approx(3 / std::sqrt(170.0 / 6)));
  CHECK(held[1] == doctest::Approx(2 * 4 / std::sqrt(170.0 / 6)));
  float one[] = {1}, half[] = {3};  // 3 / sqrt(1 / 4 + 2)
  reference.norm_by_squares({}, {{half, 1, 1}, {weight.data(), 1}, {one, 1, 1}, 4, 2});
  CHECK(half[0] == 2);
}

TEST_CASE("sum_squares and norm_by_squares: every level gives the reference's bits; one head's norm is rms_norm's") {
  for (int64_t width : kColumns) {
    Source source(11);
    std::vector<float> x = source.extremes(static_cast<size_t>(5 * 3 * width)),
                       weight = source.values(static_cast<size_t>(3 * width)), squares(15), one(5), normed(x.size());
    check_levels(squares.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      kernels.sum_squares(launch, {{x.data(), 5, 3 * width}, width, {out.floats(), 5, 3}});
      std::copy_n(out.floats(), squares.size(), squares.data());
    });
    check_levels(x.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      if (launch.part == 0) std::copy(x.begin(), x.end(), out.floats());
      kernels.norm_by_squares(launch, {{out.floats(), 5, 3 * width}, weight, {squares.data(), 5, 3}, 3 * width, 1e-5f});
    });
    Kernels kernels = select_kernels(available_levels().back());
    kernels.rms_norm({}, {{x.data(), 5, 3 * width}, weight, 1e-5f, {normed.data(), 5, 3 * width}});
    kernels.sum_squares({}, {{x.data(), 5, 3 * width}, 3 * width, {one.data(), 5, 1}});
    kernels.norm_by_squares({}, {{x.data(), 5, 3 * width}, weight, {one.data(), 5, 1}, 3 * width, 1e-5f});
    CHECK(x == normed);
  }
}

TEST_CASE("encode int8: scale is amax / 127, codes round to nearest even, sums go with them") {
  std::vector<float> x(32, 0.0f);
  x[0] = -127, x[1] = 63.5f, x[2] = 2.5f, x[3] = 1;
  Rows rows = encode_rows(PackedForm::q8, x, 1, 32);
  const Int8Group& g = *reinterpret_cast<Int8Group*>(rows.view.data);
  CHECK(g.scale == 1);
  CHECK(int{g.code[0]} == -127);
  CHECK(int{g.code[1]} == 64);
  CHECK(int{g.code[2]} == 2);
  CHECK(g.scaled_sum == -60);
  CHECK(g.minus_8_sum == 480);
  CHECK(g.minus_128_sum == 7680);
}

TEST_CASE("encode int8: zeros and vanishing groups have scale 0, a NaN or an infinity makes it NaN") {
  for (float odd : {0.0f, 1e-38f, kNan, INFINITY, -INFINITY}) {
    std::vector<float> x(64, 0.0f);
    x[33] = odd;
    Rows rows = encode_rows(PackedForm::q4, x, 1, 64);
    const Int8Group* g = reinterpret_cast<Int8Group*>(rows.view.data);
    CHECK(g[0].scale == 0);
    CHECK(same(g[1].scale, std::isfinite(odd) ? 0 : kNan));
    CHECK(same(g[1].scaled_sum, std::isfinite(odd) ? 0 : kNan));
    CHECK(g[1].minus_8_sum == 0);
  }
}

TEST_CASE(
    "encode e4m3: scale is amax / 448, codes round to nearest even; zeros, vanishing groups and NaNs as in int8") {
  std::vector<float> x(133);
  x[0] = -896, x[1] = 2 * 17, x[2] = 2 * 19, x[3] = 0x1p-9f,
  x[4] = 0x1p-8f;  // ties of 16 to 18 and 18 to 20; subnormals
  x[32] = 1e-38f, x[64] = kNan, x[96] = -INFINITY, x[132] = 3;
  Rows rows = encode_rows(PackedForm::e4m3_groups, x, 1, 133);
  const E4M3Group* g = reinterpret_cast<E4M3Group*>(rows.view.data);
  CHECK(g[0].scale == 2);
  const float codes[] = {-448, 16, 20, 0, 0x1p-9f, 0};
  for (int i = 0; i < 6; i++) CHECK(to_float(g[0].code[i]) == codes[i]);
  CHECK(g[1].scale == 0);
  CHECK(std::isnan(g[2].scale));
  CHECK(std::isnan(g[3].scale));
  CHECK(g[4].scale == 3 / 448.0f);
  CHECK(to_float(g[4].code[4]) == 448);
  for (int i = 0; i < kInputGroup; i++)
    for (int group : {1, 2, 3}) CHECK(g[group].code[i].bits == 0);
}

TEST_CASE("encode: every level gives the reference's bits") {
  for (int64_t columns : kColumns)
    for (ActivationForm form : kEncodedForms) {
      Source source(static_cast<uint32_t>(columns));
      std::vector<float> x = source.extremes(static_cast<size_t>(5 * columns));
      x[static_cast<size_t>(source.below(static_cast<int>(columns)))] = kNan;
      x[static_cast<size_t>(columns * 2)] = INFINITY;
      int64_t row_bytes = activation_row_bytes(form, columns);
      check_levels(static_cast<size_t>(5 * row_bytes), [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
        kernels.encode(launch, {{x.data(), 5, columns}, {form, out.data(), 5, columns, row_bytes}});
      });
    }
}

TEST_CASE("rms_norm and gated_mul leave their rows in the form of products: encode's bits, at every level") {
  for (ActivationForm form : kEncodedForms)
    for (int64_t columns : kColumns) {
      Source source(3);
      const auto count = static_cast<size_t>(5 * columns);
      const std::vector<float> x = source.extremes(count), up = source.values(count),
                               weight = source.values(static_cast<size_t>(columns));
      const int64_t row_bytes = activation_row_bytes(form, columns);
      const size_t floats = static_cast<size_t>(5 * row_bytes);  // where they begin
      const auto check = [&](const auto& operation) {
        check_levels(floats + count * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
          const MatrixView<float> rows(reinterpret_cast<float*>(out.data() + floats), 5, columns);
          operation(kernels, launch, rows, Activations{form, out.data(), 5, columns, row_bytes});
          if (launch.part + 1 < launch.parts) return;
          Guarded encoded(floats);
          select_kernels("reference").encode({}, {rows, {form, encoded.data(), 5, columns, row_bytes}});
          CHECK(std::equal(encoded.data(), encoded.data() + floats, out.data()));
        });
      };
      check([&](const Kernels& kernels, const Launch& launch, MatrixView<float> rows, const Activations& encoded) {
        kernels.rms_norm(launch, {{x.data(), 5, columns}, weight, 1e-5f, rows, encoded});
      });
      check([&](const Kernels& kernels, const Launch& launch, MatrixView<float> rows, const Activations& encoded) {
        const GatedMul gated = {Activation::silu, {x.data(), 5, columns}, {up.data(), 5, columns}, rows, encoded};
        kernels.gated_mul(launch, gated);  // these alone
        select_kernels("reference").gated_mul({}, {gated.activation, gated.gate, gated.up, rows});
      });
    }
}

TEST_CASE("encode bf16 rounds to nearest even and pads with zeros") {
  Rows rows = encode_rows(PackedForm::bf16, {1.0f, 1.00390625f, 1.01171875f}, 1, 3);
  const BF16* x = reinterpret_cast<BF16*>(rows.view.data);
  CHECK(to_float(x[1]) == 1.0f);
  CHECK(to_float(x[2]) == 1.015625f);
  for (int i = 3; i < 8; i++) CHECK(x[i].bits == 0);
}

TEST_CASE("encode f16 rounds to nearest even and pads with zeros") {
  Rows rows = encode_rows(PackedForm::f16_pairs, {1.0f, 0x1.002p0f, 0x1.006p0f}, 1, 3);
  const F16* x = reinterpret_cast<F16*>(rows.view.data);
  CHECK(to_float(x[1]) == 1.0f);
  CHECK(to_float(x[2]) == 0x1.008p0f);
  for (int i = 3; i < 8; i++) CHECK(x[i].bits == 0);
}

TEST_CASE("tree_combine adds the nodes along the tree, left operand first") {
  const std::vector<UnitRange> nodes = {{0, 3}, {3, 4}, {4, 5}, {5, 7}, {7, 8}};  // of 8 units: splits at 4, 6, 7
  for (int count : {1, 5}) {
    TreeProgram program = count == 1 ? tree_program(8, std::vector<UnitRange>{{0, 8}}) : tree_program(5, every_unit(5));
    for (int64_t columns : kColumns)
      for (bool accumulate : {false, true}) {
        Source source(4);
        std::vector<std::vector<float>> sums;
        std::vector<const float*> pointers;
        for (int i = 0; i < count; i++) sums.push_back(source.values(static_cast<size_t>(3 * (columns + 2)), 1e6f));
        for (const auto& sum : sums) pointers.push_back(sum.data());
        std::vector<float> start = source.values(static_cast<size_t>(3 * columns));
        check_levels(start.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
          if (launch.part == 0) std::copy(start.begin(), start.end(), out.floats());
          kernels.tree_combine(launch, {pointers, &program, columns + 2, {out.floats(), 3, columns}, accumulate});
          if (launch.part + 1 < launch.parts) return;
          const auto& s = sums;  // five units: ((0 + 1) + 2) + (3 + 4)
          float sum = count == 1 ? s[0][0] : ((s[0][0] + s[1][0]) + s[2][0]) + (s[3][0] + s[4][0]);
          CHECK(out.floats()[0] == (accumulate ? start[0] + sum : sum));
        });
      }
  }
}

TEST_CASE("add_norm is tree_combine, then rms_norm of its result: their bits, at every level") {
  for (int units : {1, 2})
    for (int64_t columns : {1, 17, 576, 5000, 8195})
      for (ActivationForm form : {ActivationForm::f32, ActivationForm::int8}) {
        CAPTURE(units);
        CAPTURE(columns);
        Source source(9);
        const TreeProgram program = tree_program(units, every_unit(units));
        const std::vector<float> start = source.extremes(static_cast<size_t>(3 * columns)),
                                 weight = source.values(static_cast<size_t>(columns));
        std::vector<std::vector<float>> sums;
        std::vector<const float*> nodes;
        for (int i = 0; i < units; i++) sums.push_back(source.values(static_cast<size_t>(3 * (columns + 2))));
        for (const auto& sum : sums) nodes.push_back(sum.data());
        const int64_t row_bytes = form == ActivationForm::f32 ? 0 : activation_row_bytes(form, columns);
        const auto floats = static_cast<size_t>(3 * columns);
        struct Places {
          MatrixView<float> x, normed;
          Activations encoded;
        };
        const auto places_in = [&](Guarded& out) {
          const MatrixView<float> x(out.floats(), 3, columns), normed(out.floats() + floats, 3, columns);
          std::byte* encoded = row_bytes == 0 ? nullptr : out.data() + 8 * floats;
          return Places{x, normed, {form, encoded, 3, columns, row_bytes}};
        };
        const size_t bytes = 8 * floats + static_cast<size_t>(3 * row_bytes);
        for (bool accumulate : {false, true}) {
          Guarded apart(bytes);
          std::copy(start.begin(), start.end(), apart.floats());
          const Places p = places_in(apart);
          const Kernels reference = select_kernels("reference");
          reference.tree_combine({}, {nodes, &program, columns + 2, p.x, accumulate});
          reference.rms_norm({}, {p.x, weight, 1e-5f, p.normed, p.encoded});
          check_levels(bytes, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
            if (launch.part == 0) std::copy(start.begin(), start.end(), out.floats());
            const Places q = places_in(out);
            kernels.add_norm(
                launch, {{nodes, &program, columns + 2, q.x, accumulate}, {q.x, weight, 1e-5f, q.normed, q.encoded}});
            if (launch.part + 1 == launch.parts) CHECK(std::equal(apart.data(), apart.data() + bytes, out.data()));
          });
        }
      }
}

TEST_CASE("embed takes the rows of the tokens held and leaves the others alone") {
  Weights table = random_weights(quantized(8, 32, 128), false, 40, 64, 8);
  const std::vector<int32_t> tokens = {100, 7, 139, 140, 99, 120};
  for (auto level : available_levels()) {
    Guarded out(tokens.size() * 64 * 4);
    each_part(3, [&](const Launch& launch) {
      select_kernels(level).embed(launch, {tokens, 100, table.view, {out.floats(), 6, 64}});
    });
    for (int64_t i = 0; i < 6; i++)
      for (int64_t k = 0; k < 64; k++) {
        int token = tokens[static_cast<size_t>(i)] - 100;
        CHECK(out.floats()[i * 64 + k] == (token < 0 || token >= 40 ? 0 : packed_value(table.view, token, k)));
      }
    CHECK(out.intact());
  }
}

TEST_CASE("embed decodes rows of every format, at every level alike") {
  for (const Format& format : kFormats) {
    CAPTURE(name_of(format));
    Weights table = random_weights(format, false, 40, 64, 4);
    const std::vector<int32_t> tokens = {0, 39, 31, 32, 7};
    check_levels(5 * 64 * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      kernels.embed(launch, {tokens, 0, table.view, {out.floats(), 5, 64}});
      if (launch.part + 1 == launch.parts) CHECK(out.floats()[64 + 3] == packed_value(table.view, 39, 3));
    });
  }
}

}  // namespace trireme::testing

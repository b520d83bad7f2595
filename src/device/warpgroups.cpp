#include "device/warpgroups.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "base/must.h"
#include "device/pinned_vector.h"
#include "kernels/packed_layout.h"

namespace trireme {

namespace {

constexpr int64_t kRows = 128, kOutputs = 128;
// Trees for which a tile's rows lie in shared memory in two ways; some of a unit's columns fill no stage
// (kernels/cuda/warpgroup_matmul.cu).
struct TreeShape {
  int64_t columns, unit;
  int depth;  // sums that are open at most, which say how rows lie
};
constexpr TreeShape kTrees[] = {{432, 112, 3}, {1008, 32, 6}};
constexpr int64_t kFewRows = 8, kHalf = kRows / 2;  // by warps in either table; in tiles of another instruction

// Exponents of two around `middle`.
struct Exponents {
  int middle, spread;
};
// The numbers of a packed form, which are inputs', too. No sum passes FP32's largest number, and no exponent the
// form's.
struct NumberForm {
  PackedForm form;
  int mantissa_bits;  // the exponent stands above them
  int bias;           // of the exponent
  std::array<Exponents, 5> of_rows;
  std::array<Exponents, 3> of_outputs;
};
constexpr NumberForm kNumbers[] = {
    {PackedForm::bf16, 7, 127, {{{0, 0}, {0, 3}, {0, 12}, {0, 60}, {-124, 6}}}, {{{0, 0}, {0, 4}, {0, 16}}}},
    {PackedForm::f16_pairs, 10, 15, {{{0, 0}, {0, 3}, {0, 8}, {0, 14}, {-14, 3}}}, {{{0, 0}, {0, 4}, {0, 14}}}}};

class Numbers {
 public:
  explicit Numbers(const NumberForm& form) : form_(form) {}

  uint16_t next(const Exponents& e) {
    const auto spread = static_cast<unsigned>(2 * e.spread + 1);
    const int exponent = e.middle - e.spread + static_cast<int>(random_() % spread);
    const unsigned mantissa = (1u << form_.mantissa_bits) - 1, bits = random_();
    return static_cast<uint16_t>((bits & (0x8000u | mantissa)) |
                                 static_cast<unsigned>(std::max(exponent + form_.bias, 0)) << form_.mantissa_bits);
  }

 private:
  const NumberForm& form_;
  std::minstd_rand random_{1};
};

bool add_alike(Device& device, const Kernels& warps, const Kernels& warpgroups, const NumberForm& of,
               const TreeShape& tree) {
  constexpr const char* kWhat = "products that are compared";
  const Contraction units = contraction(tree.columns, tree.unit);
  must(units.max_depth == tree.depth, "each tree takes another shape of tile");
  const ActivationForm inputs = activation_form(of.form);
  PackedView w{.form = of.form, .n = kOutputs, .k = tree.columns};
  Activations x{inputs, nullptr, kRows, tree.columns, activation_row_bytes(inputs, tree.columns)};
  const Buffer weights = device.allocate_pinned(static_cast<size_t>(packed_bytes(w)), kWhat),
               rows = device.allocate_pinned(static_cast<size_t>(kRows * x.row_bytes), kWhat);
  PinnedVector<float> few(device, kRows * kOutputs, kWhat), many(device, kRows * kOutputs, kWhat),
      halves(device, kRows * kOutputs, kWhat);
  w.data = weights.data(), x.data = rows.data();
  Numbers numbers(of);
  for (size_t k = 0; k < static_cast<size_t>(tree.columns); k++) {
    for (size_t n = 0; n < kOutputs; n++)
      reinterpret_cast<uint16_t*>(w.data)[pair_index(w, static_cast<int64_t>(n), static_cast<int64_t>(k))] =
          numbers.next(of.of_outputs[n % of.of_outputs.size()]);
    for (size_t r = 0; r < kRows; r++)
      reinterpret_cast<uint16_t*>(x.data + static_cast<int64_t>(r) * x.row_bytes)[k] =
          numbers.next(of.of_rows[r % of.of_rows.size()]);
  }

  const auto multiply = [&](const Kernels& kernels, int64_t rows_at_once, float* y) {
    Activations some = x;
    some.rows = rows_at_once;
    for (int64_t r = 0; r < kRows; r += rows_at_once) {
      some.data = x.data + r * x.row_bytes;
      device.launch(kernels.matmul, MatMul{some, w, &units, y + r * kOutputs, kOutputs, 0});
    }
  };
  multiply(warps, kFewRows, few.data());
  multiply(warpgroups, kRows, many.data());
  multiply(warpgroups, kHalf, halves.data());
  device.synchronize();
  const auto same = [&](const float* y) { return std::memcmp(few.data(), y, sizeof(float) * kRows * kOutputs) == 0; };
  return same(many.data()) && same(halves.data());
}

}  // namespace

bool warpgroups_add_alike(Device& device, const Kernels& warps, const Kernels& warpgroups) {
  for (const NumberForm& of : kNumbers)
    for (const TreeShape& tree : kTrees)
      if (!add_alike(device, warps, warpgroups, of, tree)) return false;
  return true;
}

}  // namespace trireme

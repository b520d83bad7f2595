#include "device/warpgroups.h"

#include <algorithm>
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
constexpr Exponents kOfRows[] = {{0, 0}, {0, 3}, {0, 12}, {0, 60}, {-124, 6}};
constexpr Exponents kOfOutputs[] = {{0, 0}, {0, 4}, {0, 16}};

class Numbers {
 public:
  BF16 next(const Exponents& e) {
    const auto spread = static_cast<unsigned>(2 * e.spread + 1);
    const int exponent = e.middle - e.spread + static_cast<int>(random_() % spread);
    const unsigned bits = random_();
    return {static_cast<uint16_t>((bits & 0x807fu) | static_cast<unsigned>(std::max(exponent + 127, 0)) << 7)};
  }

 private:
  std::minstd_rand random_{1};
};

bool add_alike(Device& device, const Kernels& warps, const Kernels& warpgroups, const TreeShape& tree) {
  constexpr const char* kWhat = "products that are compared";
  const Contraction units = contraction(tree.columns, tree.unit);
  must(units.max_depth == tree.depth, "each tree takes another shape of tile");
  PackedView w{.form = PackedForm::bf16, .n = kOutputs, .k = tree.columns};
  Activations x{ActivationForm::bf16, nullptr, kRows, tree.columns,
                activation_row_bytes(ActivationForm::bf16, tree.columns)};
  const Buffer weights = device.allocate_pinned(static_cast<size_t>(packed_bytes(w)), kWhat),
               rows = device.allocate_pinned(static_cast<size_t>(kRows * x.row_bytes), kWhat);
  PinnedVector<float> few(device, kRows * kOutputs, kWhat), many(device, kRows * kOutputs, kWhat),
      halves(device, kRows * kOutputs, kWhat);
  w.data = weights.data(), x.data = rows.data();
  Numbers numbers;
  for (int64_t k = 0; k < tree.columns; k++) {
    for (int64_t n = 0; n < kOutputs; n++) bf16_at(w, n, k) = numbers.next(kOfOutputs[n % std::ssize(kOfOutputs)]);
    for (int64_t r = 0; r < kRows; r++)
      reinterpret_cast<BF16*>(x.data + r * x.row_bytes)[k] = numbers.next(kOfRows[r % std::ssize(kOfRows)]);
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
  return std::ranges::all_of(kTrees, [&](const TreeShape& tree) { return add_alike(device, warps, warpgroups, tree); });
}

}  // namespace trireme

#include "device/warpgroups.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "device/pinned_vector.h"
#include "kernels/packed_layout.h"

namespace trireme {

namespace {

constexpr int64_t kRows = 128, kOutputs = 128, kColumns = 816;
// Trees of 8 units and of 17, for which a tile's rows lie in shared memory in two ways; some of a unit's steps fill no
// stage (kernels/cuda/warpgroup_matmul.cu).
constexpr int64_t kUnitColumns[] = {112, 48};
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

}  // namespace

bool warpgroups_add_alike(Device& device, const Kernels& warps, const Kernels& warpgroups) {
  constexpr const char* kWhat = "products that are compared";
  PackedView w{.form = PackedForm::bf16, .n = kOutputs, .k = kColumns};
  Activations x{ActivationForm::bf16, nullptr, kRows, kColumns, activation_row_bytes(ActivationForm::bf16, kColumns)};
  const Buffer weights = device.allocate_pinned(static_cast<size_t>(packed_bytes(w)), kWhat),
               rows = device.allocate_pinned(static_cast<size_t>(kRows * x.row_bytes), kWhat);
  PinnedVector<float> few(device, kRows * kOutputs, kWhat), many(device, kRows * kOutputs, kWhat),
      halves(device, kRows * kOutputs, kWhat);
  w.data = weights.data(), x.data = rows.data();
  Numbers numbers;
  for (int64_t k = 0; k < kColumns; k++) {
    for (int64_t n = 0; n < kOutputs; n++) bf16_at(w, n, k) = numbers.next(kOfOutputs[n % std::ssize(kOfOutputs)]);
    for (int64_t r = 0; r < kRows; r++)
      reinterpret_cast<BF16*>(x.data + r * x.row_bytes)[k] = numbers.next(kOfRows[r % std::ssize(kOfRows)]);
  }

  const auto multiply = [&](const Kernels& kernels, const Contraction& units, int64_t rows_at_once, float* y) {
    Activations some = x;
    some.rows = rows_at_once;
    for (int64_t r = 0; r < kRows; r += rows_at_once) {
      some.data = x.data + r * x.row_bytes;
      device.launch(kernels.matmul, MatMul{some, w, &units, y + r * kOutputs, kOutputs, 0});
    }
  };
  const auto same = [&](const float* y) { return std::memcmp(few.data(), y, sizeof(float) * kRows * kOutputs) == 0; };
  return std::ranges::all_of(kUnitColumns, [&](int64_t unit_columns) {
    const Contraction units = contraction(kColumns, unit_columns);
    multiply(warps, units, kFewRows, few.data());
    multiply(warpgroups, units, kRows, many.data());
    multiply(warpgroups, units, kHalf, halves.data());
    device.synchronize();
    return same(many.data()) && same(halves.data());
  });
}

}  // namespace trireme

#include "testkit/cuda/tensor_emulation.h"

#include <cmath>
#include <cstdlib>

#include "base/must.h"
#include "kernels/cpu/fused_flushed.h"
#include "testkit/cuda/cuda_emulation.h"

namespace trireme::cuda {

namespace {

// VDPBF16PS's multiply-add, most of them quickly.
float multiply_add(float x, float y, float sum) {
  const float product = x * y, quick = product + sum;  // BF16's products are exact: one rounding, like a fused one
  if (std::fabs(product) >= kSmallestNormal && std::fabs(quick) > kSmallestNormal) return quick;
  return trireme::fused_flushed(x, y, sum);
}

// What all lanes of a warp brought to a product of tensor cores, and in which register PTX has the columns of step k:
// the four lanes of a quad hold one step each, in turn, of 4 bytes.
struct TensorWeights {
  unsigned a[32][4];

  explicit TensorWeights(const unsigned (&mine)[4]) { take(mine, a, 0), take(mine, a, 2); }
  unsigned of_a(int row, int k) const { return a[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2]; }

 protected:
  template <size_t kRegisters>
  static void take(const unsigned (&mine)[kRegisters], unsigned (&all)[32][kRegisters], size_t first) {
    const uint64_t* words = exchange_in_warp(mine[first] | uint64_t{mine[first + 1]} << 32);
    for (int l = 0; l < 32; l++) {
      all[l][first] = static_cast<unsigned>(words[l]);
      all[l][first + 1] = static_cast<unsigned>(words[l] >> 32);
    }
  }
};
struct TensorOperands : TensorWeights {
  unsigned b[32][2];

  TensorOperands(const unsigned (&mine_a)[4], const unsigned (&mine_b)[2]) : TensorWeights(mine_a) {
    take(mine_b, b, 0);
  }
  unsigned of_b(int k, int column) const { return b[column * 4 + k % 4][k / 4]; }
};
constexpr int kTensorSteps = 8;

// Of the result, a lane has two rows and two columns.
int tensor_row(int i) { return this_lane() / 4 + i / 2 * 8; }
int tensor_column(int i) { return this_lane() % 4 * 2 + i % 2; }

float even_of(unsigned pair) { return to_float(BF16{static_cast<uint16_t>(pair)}); }
float odd_of(unsigned pair) { return to_float(BF16{static_cast<uint16_t>(pair >> 16)}); }
float add_pair(unsigned x, unsigned w, float sum) {
  return multiply_add(even_of(x), even_of(w), multiply_add(odd_of(x), odd_of(w), sum));
}
float half_of(unsigned pair, int i) { return to_float(F16{static_cast<uint16_t>(pair >> 16 * i)}); }
float add_halves(unsigned x, unsigned w, float sum) {
  for (int i = 0; i < 2; i++) sum = half_of(x, i) * half_of(w, i) + sum;  // FP16's products are exact, too
  return sum;
}

}  // namespace

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const TensorOperands all(a, b);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < kTensorSteps; k++)
      sum[i] = add_pair(all.of_b(k, tensor_column(i)), all.of_a(tensor_row(i), k), sum[i]);
}

void tensor_multiply_f16(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const TensorOperands all(a, b);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < kTensorSteps; k++)
      sum[i] = add_halves(all.of_b(k, tensor_column(i)), all.of_a(tensor_row(i), k), sum[i]);
}

namespace {

// Two columns of a row behind a descriptor: PTX ISA, "Matrix descriptor" and "Shared memory matrix layout".
unsigned pair_of_rows(uint64_t rows, int64_t row, int64_t pair) {
  must(rows >> 62 != 0, "rows are swizzled");
  const int64_t row_bytes = 256 >> (rows >> 62), pattern = 8 * row_bytes;  // 128, 64 or 32
  const auto start = static_cast<int64_t>((rows & 0x3fff) * 16),
             next_eight = static_cast<int64_t>((rows >> 32 & 0x3fff) * 16);
  must(start % pattern < row_bytes && start % 32 == 0, "16 columns of a row begin in the first one of a pattern");
  int64_t at = start + row / 8 * next_eight + row % 8 * row_bytes + pair * 4;
  at ^= (at >> 7 & (row_bytes / 16 - 1)) << 4;
  unsigned word = 0;
  std::memcpy(&word, block_memory() + at, sizeof word);
  return word;
}

}  // namespace

void multiply_rows(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles) {
  const TensorWeights all(weights);
  const int turn = std::getenv("TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE") ? 1 : 0;
  for (int tile = 0; tile < tiles; tile++)
    for (int i = 0; i < 4; i++)
      for (int k = 0; k < kTensorSteps; k++) {
        const unsigned x = pair_of_rows(rows, tile * 8 + tensor_column(i), k ^ turn),
                       w = all.of_a(tensor_row(i), k ^ turn);
        sums[tile][i] = f16 ? add_halves(x, w, sums[tile][i]) : add_pair(x, w, sums[tile][i]);
      }
}

void load_columns(const std::byte* row, unsigned (&matrices)[4]) {
  must(shared_address(row) % 16 == 0, "rows of matrices begin at multiples of 16 bytes");
  const uint64_t* rows = exchange_in_warp(shared_address(row));
  const auto value = [&](int matrix, int of_matrix, int column) {
    uint16_t bits;
    std::memcpy(&bits, block_memory() + rows[8 * matrix + of_matrix] + 2 * column, sizeof bits);
    return unsigned{bits};
  };
  const int quad = this_lane() / 4, member = this_lane() % 4;
  for (int i = 0; i < 4; i++) matrices[i] = value(i, 2 * member, quad) | value(i, 2 * member + 1, quad) << 16;
  exchange_in_warp(0);  // nobody writes there before all have read
}

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]) {
  const TensorOperands all(a, b);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < kTensorSteps; k++) {
      const unsigned x = all.of_b(k, tensor_column(i)), w = all.of_a(tensor_row(i), k);
      for (int byte = 0; byte < 32; byte += 8)
        sum[i] += static_cast<uint8_t>(w >> byte) * static_cast<int8_t>(x >> byte);
    }
}

void tensor_multiply_e4m3(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const TensorOperands all(a, b);
  for (int i = 0; i < 4; i++)
    for (int step = 0; step < kTensorSteps; step++) {
      const int k = step / 2 + step % 2 * 4;
      const unsigned x = all.of_b(k, tensor_column(i)), w = all.of_a(tensor_row(i), k);
      for (int byte = 0; byte < 32; byte += 8)
        sum[i] =
            sum[i] + to_float(E4M3{static_cast<uint8_t>(x >> byte)}) * to_float(E4M3{static_cast<uint8_t>(w >> byte)});
    }
}

}  // namespace trireme::cuda

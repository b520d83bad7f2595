#include "testkit/cuda/tensor_emulation.h"

#include <cmath>
#include <cstdlib>
#include <string_view>

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

constexpr int kTensorSteps = 8;
int quad() { return this_lane() / 4; }
int member() { return this_lane() % 4; }

// Of each operand what a lane's own results take: two rows, 8 behind each other, of the first, two columns of the
// second; 4 bytes a step. PTX has step k in lane k mod 4 of a quad, those of 4 steps in the next register.
struct OwnRows {
  unsigned of[2][kTensorSteps];

  explicit OwnRows(const unsigned (&mine)[4]) {
    for (size_t half = 0; half < 2; half++) {
      const uint64_t* words = exchange_in_warp(mine[2 * half] | uint64_t{mine[2 * half + 1]} << 32);
      for (size_t k = 0; k < 4; k++) {
        const uint64_t word = words[static_cast<size_t>(quad()) * 4 + k];
        of[0][4 * half + k] = static_cast<unsigned>(word), of[1][4 * half + k] = static_cast<unsigned>(word >> 32);
      }
    }
  }
};
struct OwnColumns {
  unsigned of[2][kTensorSteps];

  explicit OwnColumns(const unsigned (&mine)[2]) {
    const uint64_t* words = exchange_in_warp(mine[0] | uint64_t{mine[1]} << 32);
    for (size_t column = 0; column < 2; column++)
      for (size_t k = 0; k < 4; k++) {
        const uint64_t word = words[(static_cast<size_t>(member()) * 2 + column) * 4 + k];
        of[column][k] = static_cast<unsigned>(word), of[column][4 + k] = static_cast<unsigned>(word >> 32);
      }
  }
};

// sum[i] is of row i / 2 and column i % 2. add: (x, w, sum) of a step, 4 bytes of a column and of a row.
template <typename Number, typename Add>
void add_steps(const unsigned (&x)[2][kTensorSteps], const OwnRows& w, Number* sum, const Add& add, int turn = 0) {
  for (int step = 0; step < kTensorSteps; step++)
    for (int i = 0; i < 4; i++) sum[i] = add(x[i % 2][step ^ turn], w.of[i / 2][step ^ turn], sum[i]);
}

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
  const OwnRows w(a);
  add_steps(OwnColumns(b).of, w, sum, add_pair);
}

void tensor_multiply_f16(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const OwnRows w(a);
  add_steps(OwnColumns(b).of, w, sum, add_halves);
}

namespace {

// 16 columns of a row behind a descriptor: PTX ISA, "Matrix descriptor" and "Shared memory matrix layout".
void load_row(uint64_t rows, int64_t row, unsigned (&pairs)[kTensorSteps]) {
  must(rows >> 62 != 0, "rows are swizzled");
  const int64_t row_bytes = 256 >> (rows >> 62), pattern = 8 * row_bytes;  // 128, 64 or 32
  const auto start = static_cast<int64_t>((rows & 0x3fff) * 16),
             next_eight = static_cast<int64_t>((rows >> 32 & 0x3fff) * 16);
  must(start % pattern < row_bytes && start % 32 == 0, "16 columns of a row begin in the first one of a pattern");
  for (int64_t piece = 0; piece < 2; piece++) {
    int64_t at = start + row / 8 * next_eight + row % 8 * row_bytes + piece * 16;
    at ^= (at >> 7 & (row_bytes / 16 - 1)) << 4;
    std::memcpy(pairs + piece * 4, block_memory() + at, 16);
  }
}

}  // namespace

void multiply_rows(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles) {
  const OwnRows w(weights);
  const char* otherwise = std::getenv("TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE");
  const int turn = otherwise && std::string_view(otherwise) == (f16 ? "f16" : "bf16") ? 1 : 0;
  for (int tile = 0; tile < tiles; tile++) {
    unsigned x[2][kTensorSteps];
    for (int column = 0; column < 2; column++) load_row(rows, tile * 8 + member() * 2 + column, x[column]);
    if (f16)
      add_steps(x, w, sums[tile], add_halves, turn);
    else
      add_steps(x, w, sums[tile], add_pair, turn);
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
  for (int i = 0; i < 4; i++) matrices[i] = value(i, 2 * member(), quad()) | value(i, 2 * member() + 1, quad()) << 16;
  exchange_in_warp(0);  // nobody writes there before all have read
}

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]) {
  const OwnRows w(a);
  add_steps(OwnColumns(b).of, w, sum, [](unsigned x, unsigned y, int so_far) {
    for (int byte = 0; byte < 32; byte += 8) so_far += static_cast<uint8_t>(y >> byte) * static_cast<int8_t>(x >> byte);
    return so_far;
  });
}

void tensor_multiply_e4m3(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const OwnRows w(a);
  const OwnColumns columns(b);
  const auto value = [](unsigned codes, int byte) { return to_float(E4M3{static_cast<uint8_t>(codes >> byte)}); };
  for (int step = 0; step < kTensorSteps; step++) {
    const int k = step / 2 + step % 2 * 4;
    for (int byte = 0; byte < 32; byte += 8)
      for (int i = 0; i < 4; i++) sum[i] = sum[i] + value(columns.of[i % 2][k], byte) * value(w.of[i / 2][k], byte);
  }
}

}  // namespace trireme::cuda

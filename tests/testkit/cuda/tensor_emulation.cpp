#include "testkit/cuda/tensor_emulation.h"

#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/must.h"
#include "kernels/cpu/fused_flushed.h"
#include "testkit/cuda/cuda_emulation.h"

namespace trireme::cuda {

namespace {

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

// A lane's four results at once: i is of row i / 2 and column i % 2.
using Four = float __attribute__((vector_size(16)));
using FourTruths = int __attribute__((vector_size(16)));

bool all(FourTruths truths) { return (truths[0] & truths[1] & truths[2] & truths[3]) != 0; }
Four magnitude(Four x) { return x < 0 ? -x : x; }

// VDPBF16PS's multiply-add, most of them quickly.
Four add_bf16(Four x, Four w, Four sum) {
  const Four product = x * w, quick = product + sum;  // BF16's products are exact: one rounding, like a fused one
  if (all((magnitude(product) >= kSmallestNormal) & (magnitude(quick) > kSmallestNormal))) return quick;
  Four result;
  for (int i = 0; i < 4; i++) result[i] = trireme::fused_flushed(x[i], w[i], sum[i]);
  return result;
}
Four add_exact(Four x, Four w, Four sum) { return x * w + sum; }  // FP16's and E4M3's products are exact, too

// 4 bytes' numbers in the order in which they are added.
struct BF16Pair {
  static constexpr int kCount = 2;
  static float number(unsigned pair, int i) { return to_float(BF16{static_cast<uint16_t>(pair >> 16 * (1 - i))}); }
};
struct F16Pair {
  static constexpr int kCount = 2;
  static float number(unsigned pair, int i) { return to_float(F16{static_cast<uint16_t>(pair >> 16 * i)}); }
};
struct E4M3Codes {
  static constexpr int kCount = 4;
  static float number(unsigned codes, int i) { return to_float(E4M3{static_cast<uint8_t>(codes >> 8 * i)}); }
};

// A product's numbers: of rows for results 0 and 1 (kByRow), and 2 and 3, of columns for 0 and 2, and 1 and 3.
template <typename Bytes, bool kByRow>
struct Numbers {
  Four of[kTensorSteps * Bytes::kCount];

  explicit Numbers(const unsigned (&own)[2][kTensorSteps]) {
    for (int step = 0; step < kTensorSteps; step++)
      for (int i = 0; i < Bytes::kCount; i++) {
        const float first = Bytes::number(own[0][step], i), second = Bytes::number(own[1][step], i);
        of[step * Bytes::kCount + i] = kByRow ? Four{first, first, second, second} : Four{first, second, first, second};
      }
  }
};

// order(step): which one comes then.
template <typename Bytes, typename Add, typename Order>
void add_steps(const Numbers<Bytes, false>& x, const Numbers<Bytes, true>& w, float* sums, const Add& add,
               const Order& order) {
  Four sum = {sums[0], sums[1], sums[2], sums[3]};
  for (int step = 0; step < kTensorSteps; step++)
    for (int i = 0; i < Bytes::kCount; i++) {
      const int at = order(step) * Bytes::kCount + i;
      sum = add(x.of[at], w.of[at], sum);
    }
  for (int i = 0; i < 4; i++) sums[i] = sum[i];
}
int as_they_lie(int step) { return step; }

template <typename Bytes, typename Add, typename Order>
void multiply(const unsigned (&a)[4], const unsigned (&b)[2], float* sums, const Add& add, const Order& order) {
  const Numbers<Bytes, true> w(OwnRows(a).of);
  add_steps(Numbers<Bytes, false>(OwnColumns(b).of), w, sums, add, order);
}

}  // namespace

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  multiply<BF16Pair>(a, b, sum, add_bf16, as_they_lie);
}

void tensor_multiply_f16(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  multiply<F16Pair>(a, b, sum, add_exact, as_they_lie);
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

template <typename Bytes, typename Add>
void multiply_tiles(const OwnRows& weights, uint64_t rows, float (*sums)[4], int tiles, const Add& add, int turn) {
  const Numbers<Bytes, true> w(weights.of);
  for (int tile = 0; tile < tiles; tile++) {
    unsigned x[2][kTensorSteps];
    for (int column = 0; column < 2; column++) load_row(rows, tile * 8 + member() * 2 + column, x[column]);
    add_steps(Numbers<Bytes, false>(x), w, sums[tile], add, [turn](int step) { return step ^ turn; });
  }
}

}  // namespace

void multiply_rows(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles) {
  const OwnRows w(weights);
  const char* otherwise = std::getenv("TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE");
  const int turn = otherwise && std::string_view(otherwise) == (f16 ? "f16" : "bf16") ? 1 : 0;
  if (f16)
    multiply_tiles<F16Pair>(w, rows, sums, tiles, add_exact, turn);
  else
    multiply_tiles<BF16Pair>(w, rows, sums, tiles, add_bf16, turn);
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
  const OwnColumns x(b);
  for (int step = 0; step < kTensorSteps; step++)
    for (int i = 0; i < 4; i++)
      for (int byte = 0; byte < 32; byte += 8)
        sum[i] += static_cast<uint8_t>(w.of[i / 2][step] >> byte) * static_cast<int8_t>(x.of[i % 2][step] >> byte);
}

void tensor_multiply_e4m3(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  multiply<E4M3Codes>(a, b, sum, add_exact, [](int step) { return step / 2 + step % 2 * 4; });
}

}  // namespace trireme::cuda

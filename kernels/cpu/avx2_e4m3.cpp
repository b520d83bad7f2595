// Products with FP8 E4M3 weights on AVX2, FMA and F16C. A code is a BF16 number, so that the sums inside a unit are
// those of BF16 products (avx2_matmul.cpp); then a unit's sum is multiplied by its scale.
#include "kernels/cpu/avx2_panels.h"
#include "kernels/cpu/avx2_tile.h"

namespace trireme {

namespace {

constexpr int kOutputs = 64;  // of a panel: bytes of a column

// 8 V outputs of a column. FP16 has E4M3's mantissa and a wider exponent: shifted there, a code is 2^-8 of its value,
// subnormals too, which F16C takes whatever MXCSR says. The NaN code becomes 480; its scale is NaN (packed_matrix.cpp).
template <int V>
INLINE void load_column(const std::byte* codes, __m256 (&w)[V]) {
  const __m256i sign_and_value = _mm256_set1_epi16(static_cast<short>(0xbf80));
  UNROLL
  for (int i = 0; i < V; i += 2) {
    const __m256i words = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(codes + 8 * i)));
    const __m256i halves = _mm256_and_si256(_mm256_slli_epi16(words, 7), sign_and_value);
    w[i] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_set1_ps(256));
    w[i + 1] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)), _mm256_set1_ps(256));
  }
}

// x: pairs of BF16, of which kOdd takes the second.
template <bool kOdd, int R, int V>
INLINE void add_column(const std::byte* codes, const std::byte* x, int64_t x_stride, Tile<R, V>* sum) {
  __m256 w[V];
  load_column(codes, w);
  UNROLL
  for (int r = 0; r < R; r++) {
    const __m256i pair = _mm256_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride));
    const __m256i value =
        kOdd ? _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xffff0000u))) : _mm256_slli_epi32(pair, 16);
    UNROLL
    for (int i = 0; i < V; i++) sum->v[r][i] = _mm256_fmadd_ps(w[i], _mm256_castsi256_ps(value), sum->v[r][i]);
  }
}

// Of one unit: the odd column of a pair first. Tiles of 16 outputs fetch what stands `ahead` bytes behind.
template <int R, int V>
__attribute__((noinline)) void unit_sum(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                        int64_t ahead, Tile<R, V>* out) {
  Tile<R, V> sum;
  sum.clear();
  for (; steps > 0; steps--, x += 4, w += 2 * kOutputs) {
    if constexpr (V == 2) {
      _mm_prefetch(w + ahead, _MM_HINT_T1);
      _mm_prefetch(w + ahead + kOutputs, _MM_HINT_T1);
    }
    add_column<true>(w + kOutputs, x, x_stride, &sum);
    add_column<false>(w, x, x_stride, &sum);
  }
  *out = sum;
}

// Neither this nor unit_sum is inlined, so that no operation moves to the other side of a switch of MXCSR.
template <int R, int V>
__attribute__((noinline)) void flushed_sum(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                           int64_t ahead, Tile<R, V>* sum) {
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | kFlushToZero | kDenormalsAreZeros);
  unit_sum(x, x_stride, w, steps, ahead, sum);
  _mm_setcsr(control);
}

// Bytes of a panel's codes, after which its scales stand.
int64_t code_bytes(const PanelProduct& p) {
  int64_t columns = 0;
  for (int u = 0; u < p.units; u++) columns += p.columns[u];
  return (columns + 1) / 2 * 2 * kOutputs;
}

template <int R>
__attribute__((noinline)) void e4m3_tile(const PanelProduct& p, int64_t row, const std::byte* next) {
  constexpr int V = R == 1 ? 8 : R == 2 ? 4 : 2;
  const float* scales = reinterpret_cast<const float*>(p.w + code_bytes(p));
  for (int first = 0; first < p.outputs; first += V * 8) {
    Stack<R, V> stack;
    const std::byte *x = p.x + row * p.x_stride, *w = p.w + first;
    const int64_t ahead = next && first == 0 ? next - p.w : 0;
    int64_t column = 0;
    for (int u = 0; u < p.units; u++) {
      const int steps = (p.columns[u] + 1) / 2;
      Tile<R, V> sum;
      flushed_sum(x, p.x_stride, w, steps, ahead, &sum);
      const float* scale = scales + column / p.scale_columns * kOutputs + first;
      UNROLL
      for (int r = 0; r < R; r++) {
        UNROLL
        for (int i = 0; i < V; i++) sum.v[r][i] = _mm256_mul_ps(sum.v[r][i], _mm256_load_ps(scale + 8 * i));
      }
      stack.push(sum, p.pops[u]);
      x += steps * 4;
      w += steps * 2 * kOutputs;
      column += p.columns[u];
    }
    stack.finish(p, row, first);
  }
}

constexpr TileLoop kTiles[kRows] = {e4m3_tile<1>, e4m3_tile<2>, e4m3_tile<3>, e4m3_tile<4>};

}  // namespace

void panel_e4m3_avx2(const PanelProduct& p) { each_tile(p, kTiles); }

}  // namespace trireme

// Products with packed weights on AVX2, FMA and F16C: the sums of avx512_matmul.cpp, 16 outputs at a time. A tile of up
// to four rows walks the units once per 16 outputs of the panel.
#include <immintrin.h>

#include "kernels/cpu/avx2_panels.h"

namespace trireme {

namespace {

#define UNROLL _Pragma("GCC unroll 8")
#define INLINE inline __attribute__((always_inline))

constexpr int kRows = 4;

template <int R>
struct Tile {
  __m256 v[R][2];  // 16 outputs
};

template <int R>
struct Stack {
  alignas(32) float memory[kMaxTreeDepth][R * 16];
  int depth = 0;

  INLINE void push(Tile<R>& sum, int pops) {
    for (; pops > 0; pops--) {
      const float* left = memory[--depth];
      UNROLL
      for (int r = 0; r < R; r++) {
        UNROLL
        for (int i = 0; i < 2; i++) sum.v[r][i] = _mm256_add_ps(_mm256_load_ps(left + (r * 2 + i) * 8), sum.v[r][i]);
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int i = 0; i < 2; i++) _mm256_store_ps(memory[depth] + (r * 2 + i) * 8, sum.v[r][i]);
    }
    depth++;
  }

  // Writes all roots to rows [row, row + R) and outputs [first, first + 16) of y, as far as they exist.
  INLINE void finish(const PanelProduct& p, int64_t row, int first) {
    int count = p.outputs - first < 16 ? p.outputs - first : 16;
    for (int root = 0; root < depth; root++)
      for (int r = 0; r < R; r++)
        for (int i = 0; i < count; i++)
          p.y[root * p.root_stride + (row + r) * p.y_stride + first + i] = memory[root][r * 16 + i];
  }
};

// ---- f32 and bf16: panels of 64 outputs; a step is one column or one pair of columns, 256 bytes of w ----

constexpr int64_t kWideStep = 256;

// One unit. bf16: the odd column of a pair first, as VDPBF16PS does it.
template <bool kBf16, int R>
INLINE Tile<R> wide_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  Tile<R> sum;
  UNROLL
  for (int r = 0; r < R; r++) sum.v[r][0] = sum.v[r][1] = _mm256_setzero_ps();
  for (; steps > 0; steps--, x += 4, w += kWideStep) {
    __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
    __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32));
    __m256 odd0 = _mm256_castsi256_ps(_mm256_and_si256(w0, upper)),
           odd1 = _mm256_castsi256_ps(_mm256_and_si256(w1, upper));
    __m256 even0 = _mm256_castsi256_ps(_mm256_slli_epi32(w0, 16)),
           even1 = _mm256_castsi256_ps(_mm256_slli_epi32(w1, 16));
    UNROLL
    for (int r = 0; r < R; r++) {
      int pair = *reinterpret_cast<const int*>(x + r * x_stride);
      if constexpr (kBf16) {
        __m256 odd = _mm256_castsi256_ps(_mm256_set1_epi32(pair & static_cast<int>(0xffff0000u)));
        __m256 even = _mm256_castsi256_ps(_mm256_set1_epi32(pair << 16));
        sum.v[r][0] = _mm256_fmadd_ps(even0, even, _mm256_fmadd_ps(odd0, odd, sum.v[r][0]));
        sum.v[r][1] = _mm256_fmadd_ps(even1, even, _mm256_fmadd_ps(odd1, odd, sum.v[r][1]));
      } else {
        __m256 value = _mm256_castsi256_ps(_mm256_set1_epi32(pair));
        sum.v[r][0] = _mm256_fmadd_ps(_mm256_castsi256_ps(w0), value, sum.v[r][0]);
        sum.v[r][1] = _mm256_fmadd_ps(_mm256_castsi256_ps(w1), value, sum.v[r][1]);
      }
    }
  }
  return sum;
}

template <int R>
__attribute__((noinline)) void bf16_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                         Tile<R>* sum) {
  *sum = wide_unit<true, R>(x, x_stride, w, steps);
}

// VDPBF16PS takes subnormal operands and results for zeros; MXCSR makes FMA do so too. Neither function is inlined, so
// that no operation moves to the other side of a switch.
constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZeros = 0x0040;

template <int R>
__attribute__((noinline)) void flushed_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                            Tile<R>* sum) {
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | kFlushToZero | kDenormalsAreZeros);
  bf16_unit<R>(x, x_stride, w, steps, sum);
  _mm_setcsr(control);
}

template <bool kBf16, int R>
__attribute__((noinline)) void wide_tile(const PanelProduct& p, int64_t row) {
  for (int first = 0; first < p.outputs; first += 16) {
    Stack<R> stack;
    const std::byte *x = p.x + row * p.x_stride, *w = p.w + first * 4;
    for (int u = 0; u < p.units; u++) {
      int steps = kBf16 ? (p.columns[u] + 1) / 2 : p.columns[u];
      Tile<R> sum;
      if constexpr (kBf16)
        flushed_unit<R>(x, p.x_stride, w, steps, &sum);
      else
        sum = wide_unit<false, R>(x, p.x_stride, w, steps);
      x += steps * 4;
      w += steps * kWideStep;
      stack.push(sum, p.pops[u]);
    }
    stack.finish(p, row, first);
  }
}

// ---- q8 and q4: panels of 32 outputs ----

// As Int8Group in kernels.h.
struct Group {
  int8_t code[32];
  float scale, scaled_sum;
  int minus_8_sum, minus_128_sum;
};

INLINE __m256i load_bytes(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

// dot += four columns of 8 outputs times those of x. Both factors fit seven bits and a sign (a q8 code less 128), so
// that neither sum of two products leaves 16 bits.
INLINE __m256i add_products(__m256i w, __m256i x, __m256i dot) {
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <bool kQ8, int R>
INLINE void add_group(const std::byte* w, const std::byte* x, int64_t x_stride, __m256i (&dot)[R][2]) {
  const __m256i low = _mm256_set1_epi8(15), middle = _mm256_set1_epi8(-128);
  for (int step = 0; step < 8; step++) {
    const std::byte* codes = w + (kQ8 ? step : step / 2) * 128;
    __m256i w0 = load_bytes(codes), w1 = load_bytes(codes + 32);
    if constexpr (kQ8) {
      w0 = _mm256_xor_si256(w0, middle);
      w1 = _mm256_xor_si256(w1, middle);
    } else {
      if (step % 2) w0 = _mm256_srli_epi16(w0, 4), w1 = _mm256_srli_epi16(w1, 4);
      w0 = _mm256_and_si256(w0, low);
      w1 = _mm256_and_si256(w1, low);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      __m256i a = _mm256_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride + 4 * step));
      dot[r][0] = add_products(w0, a, dot[r][0]);
      dot[r][1] = add_products(w1, a, dot[r][1]);
    }
  }
}

INLINE __m256 half_floats(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

template <bool kQ8, int R>
__attribute__((noinline)) void group_tile(const PanelProduct& p, int64_t row) {
  constexpr int kCodeBytes = kQ8 ? 1024 : 512;
  const int group_bytes = kCodeBytes + (p.has_minimum ? 128 : 64);
  for (int first = 0; first < p.outputs; first += 16) {
    Stack<R> stack;
    const std::byte *x = p.x + row * p.x_stride, *w = p.w;
    for (int u = 0; u < p.units; u++) {
      Tile<R> sum;
      UNROLL
      for (int r = 0; r < R; r++) sum.v[r][0] = sum.v[r][1] = _mm256_setzero_ps();
      for (int g = (p.columns[u] + 31) / 32; g > 0; g--, x += sizeof(Group), w += group_bytes) {
        __m256i dot[R][2];
        UNROLL
        for (int r = 0; r < R; r++) {
          const Group* a = reinterpret_cast<const Group*>(x + r * p.x_stride);
          int start = p.has_minimum || p.zero == 0 ? 0 : p.zero == 8 ? a->minus_8_sum : a->minus_128_sum;
          if (kQ8) start -= a->minus_128_sum;  // q8 codes are taken less 128
          dot[r][0] = dot[r][1] = _mm256_set1_epi32(start);
        }
        add_group<kQ8, R>(w + first * 4, x, p.x_stride, dot);
        const std::byte* scales = w + kCodeBytes + first * 2;
        __m256 scale[2] = {half_floats(scales), half_floats(scales + 16)};
        UNROLL
        for (int r = 0; r < R; r++) {
          const Group* a = reinterpret_cast<const Group*>(x + r * p.x_stride);
          UNROLL
          for (int i = 0; i < 2; i++)
            sum.v[r][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][i]),
                                          _mm256_mul_ps(scale[i], _mm256_set1_ps(a->scale)), sum.v[r][i]);
          if (p.has_minimum) {
            UNROLL
            for (int i = 0; i < 2; i++)
              sum.v[r][i] =
                  _mm256_fmadd_ps(half_floats(scales + 64 + 16 * i), _mm256_set1_ps(a->scaled_sum), sum.v[r][i]);
          }
        }
      }
      stack.push(sum, p.pops[u]);
    }
    stack.finish(p, row, first);
  }
}

using TileLoop = void (*)(const PanelProduct&, int64_t row);

INLINE void each_tile(const PanelProduct& p, const TileLoop (&loops)[kRows]) {
  int64_t tiles = (p.rows + kRows - 1) / kRows;
  for (int64_t t = 0; t < tiles; t++) {
    int64_t begin = p.rows * t / tiles, end = p.rows * (t + 1) / tiles;
    loops[end - begin - 1](p, begin);
  }
}

template <bool kBf16>
constexpr TileLoop kWideTiles[kRows] = {wide_tile<kBf16, 1>, wide_tile<kBf16, 2>, wide_tile<kBf16, 3>,
                                        wide_tile<kBf16, 4>};
template <bool kQ8>
constexpr TileLoop kGroupTiles[kRows] = {group_tile<kQ8, 1>, group_tile<kQ8, 2>, group_tile<kQ8, 3>,
                                         group_tile<kQ8, 4>};

}  // namespace

void panel_f32_avx2(const PanelProduct& p) { each_tile(p, kWideTiles<false>); }
void panel_bf16_avx2(const PanelProduct& p) { each_tile(p, kWideTiles<true>); }
void panel_q8_avx2(const PanelProduct& p) { each_tile(p, kGroupTiles<true>); }
void panel_q4_avx2(const PanelProduct& p) { each_tile(p, kGroupTiles<false>); }

}  // namespace trireme

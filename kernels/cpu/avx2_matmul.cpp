// Products with packed weights on AVX2, FMA and F16C: the sums of avx512_matmul.cpp. A tile of up to four rows walks
// the units once for every 16 outputs of a panel; one or two rows take more outputs at once, so that memory streams.
#include "kernels/cpu/avx2_panels.h"
#include "kernels/cpu/avx2_tile.h"

namespace trireme {

namespace {

// ---- f32, f16 and bf16: panels of 64 outputs; a step is one column or, of bf16, a pair of them ----

enum class Wide { f32, f16, bf16 };
template <Wide kForm>
constexpr int64_t kOutputBytes = kForm == Wide::f16 ? 2 : 4;  // of w in a step
template <Wide kForm>
constexpr int64_t kWideStep = 64 * kOutputBytes<kForm>;

// Eight outputs of a column of FP32 or FP16, or of a pair of columns of BF16.
template <Wide kForm>
INLINE __m256i load_wide(const std::byte* w) {
  if constexpr (kForm == Wide::f16)
    return _mm256_castps_si256(_mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(w))));
  else
    return load_bytes(w);
}

// One unit. Tiles of 16 outputs fetch what stands `ahead` bytes behind it into the second-level cache. bf16: the odd
// column of a pair first, as VDPBF16PS does it.
template <Wide kForm, int R, int V>
INLINE Tile<R, V> wide_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps, int64_t ahead) {
  constexpr bool kBf16 = kForm == Wide::bf16;
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  Tile<R, V> sum;
  sum.clear();
  for (; steps > 0; steps--, x += 4, w += kWideStep<kForm>) {
    if constexpr (V == 2)
      _mm_prefetch(w + ahead, _MM_HINT_T1);  // a step of a tile of 16 outputs is one line, or half of one
    __m256 w_odd[V], w_even[V];              // a column alone is even
    UNROLL
    for (int i = 0; i < V; i++) {
      const __m256i pairs = load_wide<kForm>(w + 8 * kOutputBytes<kForm> * i);
      w_odd[i] = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
      w_even[i] = _mm256_castsi256_ps(kBf16 ? _mm256_slli_epi32(pairs, 16) : pairs);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      const __m256i pair = _mm256_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride));
      const __m256 odd = _mm256_castsi256_ps(_mm256_and_si256(pair, upper)),
                   even = _mm256_castsi256_ps(kBf16 ? _mm256_slli_epi32(pair, 16) : pair);
      UNROLL
      for (int i = 0; i < V; i++) {
        if constexpr (kBf16) sum.v[r][i] = _mm256_fmadd_ps(w_odd[i], odd, sum.v[r][i]);
        sum.v[r][i] = _mm256_fmadd_ps(w_even[i], even, sum.v[r][i]);
      }
    }
  }
  return sum;
}

// Neither of these two is inlined, so that no operation moves to the other side of a switch of MXCSR.
template <int R, int V>
__attribute__((noinline)) void bf16_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                         int64_t ahead, Tile<R, V>* sum) {
  *sum = wide_unit<Wide::bf16, R, V>(x, x_stride, w, steps, ahead);
}

template <int R, int V>
__attribute__((noinline)) void flushed_unit(const std::byte* x, int64_t x_stride, const std::byte* w, int steps,
                                            int64_t ahead, Tile<R, V>* sum) {
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | kFlushToZero | kDenormalsAreZeros);
  bf16_unit(x, x_stride, w, steps, ahead, sum);
  _mm_setcsr(control);
}

template <Wide kForm, int R>
__attribute__((noinline)) void wide_tile(const PanelProduct& p, int64_t row, const std::byte* next) {
  constexpr int V = R == 1 ? 8 : R == 2 ? 4 : 2;
  const int64_t ahead = next ? next - p.w : 0;
  for (int first = 0; first < p.outputs; first += V * 8) {
    Stack<R, V> stack;
    const std::byte *x = p.x + row * p.x_stride, *w = p.w + first * kOutputBytes<kForm>;
    for (int u = 0; u < p.units; u++) {
      int steps = kForm == Wide::bf16 ? (p.columns[u] + 1) / 2 : p.columns[u];
      Tile<R, V> sum;
      if constexpr (kForm == Wide::bf16)
        flushed_unit(x, p.x_stride, w, steps, ahead, &sum);
      else
        sum = wide_unit<kForm, R, V>(x, p.x_stride, w, steps, ahead);
      x += steps * 4;
      w += steps * kWideStep<kForm>;
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

// Sums of products in 16 bits, two columns of an output a lane. A half of a code is 0 to 15 and an x at most 127 either
// way, so that a group's 16 products stay below 2^15.
template <int R, int V>
struct Pairs {
  __m256i v[R][V];

  INLINE void clear() {
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int i = 0; i < V; i++) v[r][i] = _mm256_setzero_si256();
    }
  }

  // The lower (upper: kShift 4) halves of four columns of codes, times those of x.
  template <int kShift>
  INLINE void add(const __m256i (&w)[V], const std::byte* x, int64_t x_stride) {
    __m256i halves[V];
    UNROLL
    for (int i = 0; i < V; i++) halves[i] = _mm256_and_si256(_mm256_srli_epi16(w[i], kShift), _mm256_set1_epi8(15));
    UNROLL
    for (int r = 0; r < R; r++) {
      __m256i a = _mm256_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride));
      UNROLL
      for (int i = 0; i < V; i++) {
        v[r][i] = _mm256_add_epi16(v[r][i], _mm256_maddubs_epi16(halves[i], a));
        asm("" : "+x"(v[r][i]));  // gcc 12 would put the sums off until products fill all registers
      }
    }
  }

  INLINE void add_to(__m256i (&dot)[R][V], short factor) const {
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int i = 0; i < V; i++)
        dot[r][i] = _mm256_add_epi32(dot[r][i], _mm256_madd_epi16(v[r][i], _mm256_set1_epi16(factor)));
    }
  }
};

template <int V>
INLINE void load_codes(const std::byte* codes, __m256i (&w)[V]) {
  UNROLL
  for (int i = 0; i < V; i++) w[i] = load_bytes(codes + i * 32);
}

// dot += the products of kColumns columns, codes as stored. A q8 code is 16 times its upper half and its lower half;
// one half after the other, for the sums of both fill the registers. Rolled loops, for gcc 12 spills the sums of a long
// one.
template <bool kQ8, int kColumns, int R, int V>
INLINE void add_columns(const std::byte* codes, const std::byte* x, int64_t x_stride, __m256i (&dot)[R][V]) {
  Pairs<R, V> sum;
  __m256i w[V];
  sum.clear();
  if constexpr (kQ8) {
    ROLLED
    for (int step = 0; step < kColumns / 4; step++) {
      load_codes(codes + step * 128, w);
      sum.template add<0>(w, x + step * 4, x_stride);
    }
    sum.add_to(dot, 1);
    sum.clear();
    ROLLED
    for (int step = 0; step < kColumns / 4; step++) {
      load_codes(codes + step * 128, w);
      sum.template add<4>(w, x + step * 4, x_stride);
    }
    sum.add_to(dot, 16);
  } else {
    ROLLED
    for (int step = 0; step < kColumns / 4; step += 2) {
      load_codes(codes + step * 64, w);
      sum.template add<0>(w, x + step * 4, x_stride);
      sum.template add<4>(w, x + step * 4 + 4, x_stride);
    }
    sum.add_to(dot, 1);
  }
}

// What the sums of a row need of its group beside the products.
struct RowSums {
  int minus_zeros;   // -zero times the sum of the codes of x
  float scaled_sum;  // scale of x times that sum
};

template <int kColumns>
INLINE RowSums row_sums(const PanelProduct& p, const Group& a, int first) {
  if constexpr (kColumns == 32) {
    return {p.zero == 0 ? 0 : p.zero == 8 ? a.minus_8_sum : a.minus_128_sum, a.scaled_sum};
  } else {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a.code + first));
    const __m128i eights = _mm_sad_epu8(_mm_xor_si128(codes, _mm_set1_epi8(-128)), _mm_setzero_si128());
    const int sum = _mm_cvtsi128_si32(eights) + _mm_extract_epi32(eights, 2) - 16 * 128;
    return {-p.zero * sum, a.scale * static_cast<float>(sum)};
  }
}

enum class Scales { f16, f32, f32_by_16 };  // type, and the columns that share one: 32 or 16

// Of a group in a panel.
template <bool kQ8>
constexpr int kCodeBytes = kQ8 ? 1024 : 512;
template <Scales kScales>
constexpr int kScalesBytes = kScales == Scales::f16   ? 64
                             : kScales == Scales::f32 ? 128
                                                      : 256;

// Eight outputs of them.
template <Scales kScales>
INLINE __m256 load_scales(const std::byte* p) {
  if constexpr (kScales == Scales::f16)
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  else
    return _mm256_load_ps(reinterpret_cast<const float*>(p));
}

// The sums of a group at w for outputs [first, first + 8 V) into sum.
template <bool kQ8, bool kMinimum, Scales kScales, int R, int V>
INLINE void add_group(const PanelProduct& p, const std::byte* w, int first, const std::byte* x, Tile<R, V>& sum) {
  constexpr int kColumns = kScales == Scales::f32_by_16 ? 16 : 32, kScaleBytes = kScales == Scales::f16 ? 2 : 4;
  UNROLL
  for (int column = 0; column < 32; column += kColumns) {
    RowSums sums[R];
    __m256i dot[R][V];
    UNROLL
    for (int r = 0; r < R; r++) {
      sums[r] = row_sums<kColumns>(p, *reinterpret_cast<const Group*>(x + r * p.x_stride), column);
      UNROLL
      for (int i = 0; i < V; i++) dot[r][i] = _mm256_set1_epi32(kMinimum ? 0 : sums[r].minus_zeros);
    }
    add_columns<kQ8, kColumns>(w + column * kCodeBytes<kQ8> / 32 + first * 4, x + column, p.x_stride, dot);
    const std::byte* scales = w + kCodeBytes<kQ8> + (column / kColumns * 32 + first) * kScaleBytes;
    __m256 scale[V], minimum[V];
    UNROLL
    for (int i = 0; i < V; i++) {
      scale[i] = load_scales<kScales>(scales + 8 * kScaleBytes * i);
      if constexpr (kMinimum) minimum[i] = load_scales<kScales>(scales + kScalesBytes<kScales> + 8 * kScaleBytes * i);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      const __m256 x_scale = _mm256_set1_ps(reinterpret_cast<const Group*>(x + r * p.x_stride)->scale),
                   x_sum = _mm256_set1_ps(sums[r].scaled_sum);
      UNROLL
      for (int i = 0; i < V; i++) {
        sum.v[r][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][i]), _mm256_mul_ps(scale[i], x_scale), sum.v[r][i]);
        if constexpr (kMinimum) sum.v[r][i] = _mm256_fmadd_ps(minimum[i], x_sum, sum.v[r][i]);
      }
    }
  }
}

// next: the panel to fetch into the second-level cache beside the work, or null.
template <bool kQ8, bool kMinimum, Scales kScales, int R>
__attribute__((noinline)) void group_tile(const PanelProduct& p, int64_t row, const std::byte* next) {
  constexpr int V = R <= 2 ? 4 : 2;
  constexpr int kGroupBytes = kCodeBytes<kQ8> + kScalesBytes<kScales> * (kMinimum ? 2 : 1);
  for (int first = 0; first < p.outputs; first += V * 8) {
    Stack<R, V> stack;
    const std::byte *x = p.x + row * p.x_stride, *w = p.w;
    for (int u = 0; u < p.units; u++) {
      Tile<R, V> sum;
      sum.clear();
      for (int g = (p.columns[u] + 31) / 32; g > 0; g--, x += sizeof(Group), w += kGroupBytes) {
        if (next) {
          UNROLL
          for (int line = 0; line < kGroupBytes / 64; line++) _mm_prefetch(next + 64 * line, _MM_HINT_T1);
          next += kGroupBytes;
        }
        add_group<kQ8, kMinimum, kScales>(p, w, first, x, sum);
      }
      stack.push(sum, p.pops[u]);
    }
    stack.finish(p, row, first);
    next = nullptr;
  }
}

template <Wide kForm>
constexpr TileLoop kWideTiles[kRows] = {wide_tile<kForm, 1>, wide_tile<kForm, 2>, wide_tile<kForm, 3>,
                                        wide_tile<kForm, 4>};
template <bool kQ8, bool kMinimum, Scales kScales>
constexpr TileLoop kGroupTiles[kRows] = {group_tile<kQ8, kMinimum, kScales, 1>, group_tile<kQ8, kMinimum, kScales, 2>,
                                         group_tile<kQ8, kMinimum, kScales, 3>, group_tile<kQ8, kMinimum, kScales, 4>};

template <bool kQ8, Scales kScales>
INLINE void group_tiles(const PanelProduct& p) {
  each_tile(p, p.has_minimum ? kGroupTiles<kQ8, true, kScales> : kGroupTiles<kQ8, false, kScales>);
}

template <bool kQ8>
INLINE void group_tiles_f32(const PanelProduct& p) {
  p.scale_columns == 16 ? group_tiles<kQ8, Scales::f32_by_16>(p) : group_tiles<kQ8, Scales::f32>(p);
}

}  // namespace

void panel_f32_avx2(const PanelProduct& p) { each_tile(p, kWideTiles<Wide::f32>); }
void panel_f16_avx2(const PanelProduct& p) { each_tile(p, kWideTiles<Wide::f16>); }
void panel_bf16_avx2(const PanelProduct& p) { each_tile(p, kWideTiles<Wide::bf16>); }
void panel_q8_avx2(const PanelProduct& p) { group_tiles<true, Scales::f16>(p); }
void panel_q4_avx2(const PanelProduct& p) { group_tiles<false, Scales::f16>(p); }
void panel_q8_f32_avx2(const PanelProduct& p) { group_tiles_f32<true>(p); }
void panel_q4_f32_avx2(const PanelProduct& p) { group_tiles_f32<false>(p); }

}  // namespace trireme

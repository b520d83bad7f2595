// Products with packed weights on AVX-512. A vector lane is an output, so no sum crosses lanes; a tile of rows x one
// panel of outputs stays in registers over a unit's columns, and the finished unit goes onto the stack of the unit
// tree.
#include <immintrin.h>

#include "kernels/cpu/avx512_panels.h"

namespace trireme {

namespace {

#define UNROLL _Pragma("GCC unroll 8")
#define INLINE inline __attribute__((always_inline))

template <int R, int V>
struct Tile {
  __m512 v[R][V];
};

template <int R, int V>
INLINE void clear(Tile<R, V>& t) {
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int i = 0; i < V; i++) t.v[r][i] = _mm512_setzero_ps();
  }
}

template <int R, int V>
INLINE void store(float* memory, const Tile<R, V>& t) {
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int i = 0; i < V; i++) _mm512_store_ps(memory + (r * V + i) * 16, t.v[r][i]);
  }
}

// t = memory + t: the left operand of the tree stands on the stack.
template <int R, int V>
INLINE void add_left(const float* memory, Tile<R, V>& t) {
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int i = 0; i < V; i++) t.v[r][i] = _mm512_add_ps(_mm512_load_ps(memory + (r * V + i) * 16), t.v[r][i]);
  }
}

// The stack of the unit tree. With kHeld its top, a tile of the caller's, stays in registers: half the stores and
// loads.
template <int R, int V, bool kHeld>
struct Stack {
  alignas(64) float memory[kMaxTreeDepth][R * V * 16];
  int depth = 0;

  INLINE void push(Tile<R, V>& sum, Tile<R, V>& top, int pops) {
    if constexpr (!kHeld) {
      for (; pops > 0; pops--) add_left(memory[--depth], sum);
      store(memory[depth++], sum);
    } else if (pops > 0) {
      UNROLL
      for (int r = 0; r < R; r++) {
        UNROLL
        for (int i = 0; i < V; i++) top.v[r][i] = _mm512_add_ps(top.v[r][i], sum.v[r][i]);
      }
      for (; pops > 1; pops--) add_left(memory[--depth - 1], top);
    } else {
      if (depth > 0) store(memory[depth - 1], top);
      top = sum;
      depth++;
    }
  }

  // Writes all roots, in order, to rows [row, row + R) of y.
  INLINE void finish(const PanelProduct& p, int64_t row, const Tile<R, V>& top) {
    if constexpr (kHeld) store(memory[depth - 1], top);
    for (int root = 0; root < depth; root++)
      for (int r = 0; r < R; r++)
        for (int i = 0; i < V; i++) {
          int left = p.outputs - i * 16;
          if (left <= 0) break;
          __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
          float* y = p.y + root * p.root_stride + (row + r) * p.y_stride + i * 16;
          _mm512_mask_storeu_ps(y, mask, _mm512_load_ps(memory[root] + (r * V + i) * 16));
        }
  }
};

// Weights for all rows of a tile stay in a register; gcc 12 would read them again for each row, and loads are the
// limit.
INLINE __m512i keep(__m512i v) {
#ifdef __AVX512F__  // not where it is emulated (tests/kernels/avx512)
  asm("" : "+v"(v));
#endif
  return v;
}
INLINE __m512i load_once(const std::byte* p) { return keep(_mm512_load_si512(p)); }

INLINE __m512 half_floats(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}

// Of the next panel, while a tile is computed.
enum class Prefetch { none, half, all };

// A step's share of it.
template <Prefetch kPrefetch, int kStepBytes>
INLINE void prefetch(const std::byte*& next) {
  constexpr int kAll = kStepBytes / 64, kLines = kPrefetch == Prefetch::all ? kAll : (kAll + 1) / 2;
  if constexpr (kPrefetch == Prefetch::none) return;
  UNROLL
  for (int line = 0; line < kLines; line++) _mm_prefetch(next + 64 * line, _MM_HINT_T1);
  next += 64 * kLines;
}

// ---- f32, f16 and bf16: 64 outputs; a step is one column or, of bf16, a pair of them, 4 bytes of x ----

enum class Wide { f32, f16, bf16 };
template <Wide kForm>
constexpr int kWideStep = kForm == Wide::f16 ? 128 : 256;  // bytes of w

// The i-th 16 outputs of a step.
template <Wide kForm>
INLINE __m512i load_wide(const std::byte* w, int i) {
  if constexpr (kForm == Wide::f16)
    return keep(_mm512_castps_si512(half_floats(w + 32 * i)));
  else
    return load_once(w + 64 * i);
}

template <Wide kForm>
INLINE __m512 multiply_add(__m512i w, __m512i x, __m512 sum) {
  if constexpr (kForm == Wide::bf16)
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
  else
    return _mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), sum);
}

template <Wide kForm, int R, bool kHeld, Prefetch kPrefetch>
__attribute__((noinline)) void wide_tile(const PanelProduct& p, int64_t row, const std::byte* next) {
  Stack<R, 4, kHeld> stack;
  const std::byte *x = p.x + row * p.x_stride, *w = p.w;
  const int64_t x_stride = p.x_stride;
  Tile<R, 4> sum, top;
  for (int u = 0; u < p.units; u++) {
    clear(sum);
    for (int step = kForm == Wide::bf16 ? (p.columns[u] + 1) / 2 : p.columns[u]; step > 0; step--) {
      const __m512i w0 = load_wide<kForm>(w, 0), w1 = load_wide<kForm>(w, 1), w2 = load_wide<kForm>(w, 2),
                    w3 = load_wide<kForm>(w, 3);
      UNROLL
      for (int r = 0; r < R; r++) {
        __m512i a = _mm512_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride));
        sum.v[r][0] = multiply_add<kForm>(w0, a, sum.v[r][0]);
        sum.v[r][1] = multiply_add<kForm>(w1, a, sum.v[r][1]);
        sum.v[r][2] = multiply_add<kForm>(w2, a, sum.v[r][2]);
        sum.v[r][3] = multiply_add<kForm>(w3, a, sum.v[r][3]);
      }
      prefetch<kPrefetch, kWideStep<kForm>>(next);
      x += 4;
      w += kWideStep<kForm>;
    }
    stack.push(sum, top, p.pops[u]);
  }
  stack.finish(p, row, top);
}

using TileLoop = void (*)(const PanelProduct&, int64_t row, const std::byte* next);
struct TileLoops {
  TileLoop none, half, all;  // by what they prefetch; all: null where a lone tile waits for memory anyway
};

// Cuts the rows into nearly equal tiles of at most `most`. The first two prefetch half of the next panel each; a lone
// one prefetches all of it where its arithmetic takes about as long as its memory.
INLINE void each_tile(const PanelProduct& p, int64_t panel_bytes, int most, const TileLoops* loops) {
  int64_t tiles = (p.rows + most - 1) / most;
  for (int64_t t = 0; t < tiles; t++) {
    int64_t begin = p.rows * t / tiles, end = p.rows * (t + 1) / tiles;
    const TileLoops& loop = loops[end - begin - 1];
    if (p.next && tiles == 1 && loop.all)
      loop.all(p, begin, p.next);
    else if (p.next && tiles > 1 && t < 2)
      loop.half(p, begin, p.next + panel_bytes / 2 * t);
    else
      loop.none(p, begin, nullptr);
  }
}

int64_t total_columns(const PanelProduct& p) {
  int64_t total = 0;
  for (int u = 0; u < p.units; u++) total += p.columns[u];
  return total;
}

// Many rows: 3 x 4 sums and 3 x 4 held. Few: 6 x 4, so that the weights, which then come from memory, are read less
// often.
constexpr int64_t kFewRows = 64;

template <Wide kForm, int R, bool kHeld>
constexpr TileLoops kWideTile = {wide_tile<kForm, R, kHeld, Prefetch::none>, wide_tile<kForm, R, kHeld, Prefetch::half>,
                                 nullptr};

template <Wide kForm>
INLINE void wide_panel(const PanelProduct& p) {
  static constexpr TileLoops few[] = {kWideTile<kForm, 1, false>, kWideTile<kForm, 2, false>,
                                      kWideTile<kForm, 3, false>, kWideTile<kForm, 4, false>,
                                      kWideTile<kForm, 5, false>, kWideTile<kForm, 6, false>},
                             many[] = {kWideTile<kForm, 1, true>, kWideTile<kForm, 2, true>, kWideTile<kForm, 3, true>};
  int64_t bytes = total_columns(p) * kWideStep<kForm> / (kForm == Wide::bf16 ? 2 : 1);
  if (p.rows <= kFewRows)
    each_tile(p, bytes, 6, few);
  else
    each_tile(p, bytes, 3, many);
}

// ---- q8 and q4: 32 outputs; a group of 32 columns is summed exactly in INT32, then scaled and added ----

// As Int8Group in kernels.h.
struct Group {
  int8_t code[32];
  float scale, scaled_sum;
  int minus_8_sum, minus_128_sum;
};

enum class Codes { q8, q4 };
template <Codes kCodes>
constexpr int kCodeBytes = kCodes == Codes::q8 ? 1024 : 512;

template <int R>
struct IntTile {
  __m512i v[R][2];
};

// dot += four columns of 32 outputs (w0: the first 16) times the same columns of R rows.
template <int R>
INLINE void add_step(__m512i w0, __m512i w1, const std::byte* x, int64_t x_stride, int step, IntTile<R>& dot) {
  UNROLL
  for (int r = 0; r < R; r++) {
    __m512i a = _mm512_set1_epi32(*reinterpret_cast<const int*>(x + r * x_stride + 4 * step));
    dot.v[r][0] = _mm512_dpbusd_epi32(dot.v[r][0], w0, a);
    dot.v[r][1] = _mm512_dpbusd_epi32(dot.v[r][1], w1, a);
  }
}

template <Codes kCodes, int R>
INLINE void add_group(const std::byte* w, const std::byte* x, int64_t x_stride, IntTile<R>& dot) {
  const __m512i low = _mm512_set1_epi8(15);
  if constexpr (kCodes == Codes::q8) {
    UNROLL
    for (int step = 0; step < 8; step++)
      add_step(load_once(w + 128 * step), load_once(w + 128 * step + 64), x, x_stride, step, dot);
  } else {
    UNROLL
    for (int step = 0; step < 8; step += 2) {
      __m512i w0 = load_once(w + 64 * step), w1 = load_once(w + 64 * step + 64);
      add_step(_mm512_and_si512(w0, low), _mm512_and_si512(w1, low), x, x_stride, step, dot);
      w0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), low);
      w1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), low);
      add_step(w0, w1, x, x_stride, step + 1, dot);
    }
  }
}

template <Codes kCodes, bool kMinimum, int R, Prefetch kPrefetch>
__attribute__((noinline)) void group_tile(const PanelProduct& p, int64_t row, const std::byte* next) {
  constexpr int kGroupBytes = kCodeBytes<kCodes> + (kMinimum ? 128 : 64);
  Stack<R, 2, true> stack;
  const std::byte *x = p.x + row * p.x_stride, *w = p.w;
  const int64_t x_stride = p.x_stride;
  // Where a row's group keeps what the zero takes away; a zero of 0 takes nothing.
  const int correction = p.zero == 8 ? offsetof(Group, minus_8_sum) : offsetof(Group, minus_128_sum);
  const int taken = kMinimum || p.zero == 0 ? 0 : -1;
  Tile<R, 2> sum, top;
  for (int u = 0; u < p.units; u++) {
    clear(sum);
    for (int group = (p.columns[u] + 31) / 32; group > 0; group--) {
      IntTile<R> dot;
      UNROLL
      for (int r = 0; r < R; r++) {
        int start = kMinimum ? 0 : *reinterpret_cast<const int*>(x + r * x_stride + correction) & taken;
        dot.v[r][0] = dot.v[r][1] = _mm512_set1_epi32(start);
      }
      add_group<kCodes>(w, x, x_stride, dot);
      __m512 scale[2] = {half_floats(w + kCodeBytes<kCodes>), half_floats(w + kCodeBytes<kCodes> + 32)};
      UNROLL
      for (int r = 0; r < R; r++) {
        const Group* g = reinterpret_cast<const Group*>(x + r * x_stride);
        UNROLL
        for (int i = 0; i < 2; i++)
          sum.v[r][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot.v[r][i]),
                                        _mm512_mul_ps(scale[i], _mm512_set1_ps(g->scale)), sum.v[r][i]);
      }
      if constexpr (kMinimum) {
        __m512 minimum[2] = {half_floats(w + kCodeBytes<kCodes> + 64), half_floats(w + kCodeBytes<kCodes> + 96)};
        UNROLL
        for (int r = 0; r < R; r++) {
          const Group* g = reinterpret_cast<const Group*>(x + r * x_stride);
          UNROLL
          for (int i = 0; i < 2; i++)
            sum.v[r][i] = _mm512_fmadd_ps(minimum[i], _mm512_set1_ps(g->scaled_sum), sum.v[r][i]);
        }
      }
      prefetch<kPrefetch, kGroupBytes>(next);
      x += sizeof(Group);
      w += kGroupBytes;
    }
    stack.push(sum, top, p.pops[u]);
  }
  stack.finish(p, row, top);
}

template <Codes kCodes, bool kMinimum, int R>
constexpr TileLoops kGroupTile = {
    group_tile<kCodes, kMinimum, R, Prefetch::none>, group_tile<kCodes, kMinimum, R, Prefetch::half>,
    R >= 2 && kCodes == Codes::q4 ? group_tile<kCodes, kMinimum, R, Prefetch::all> : nullptr};

template <Codes kCodes, bool kMinimum>
INLINE void group_panel(const PanelProduct& p) {
  static constexpr TileLoops tiles[] = {kGroupTile<kCodes, kMinimum, 1>, kGroupTile<kCodes, kMinimum, 2>,
                                        kGroupTile<kCodes, kMinimum, 3>, kGroupTile<kCodes, kMinimum, 4>};
  int64_t bytes = (total_columns(p) + 31) / 32 * (kCodeBytes<kCodes> + (kMinimum ? 128 : 64));
  each_tile(p, bytes, 4, tiles);
}

}  // namespace

void panel_f32_avx512(const PanelProduct& p) { wide_panel<Wide::f32>(p); }
void panel_f16_avx512(const PanelProduct& p) { wide_panel<Wide::f16>(p); }
void panel_bf16_avx512(const PanelProduct& p) { wide_panel<Wide::bf16>(p); }
void panel_q8_avx512(const PanelProduct& p) {
  p.has_minimum ? group_panel<Codes::q8, true>(p) : group_panel<Codes::q8, false>(p);
}
void panel_q4_avx512(const PanelProduct& p) {
  p.has_minimum ? group_panel<Codes::q4, true>(p) : group_panel<Codes::q4, false>(p);
}

}  // namespace trireme

#pragma once

#include <immintrin.h>

#include <cstdint>

// 16 lanes of FP32 or INT32 as one AVX-512 register. The same names over AVX2 are in lanes_avx2.h; the loops that are
// written once for both (row_loops.h, attend_loop.h) include neither: the file that compiles them does, first.
#define UNROLL _Pragma("GCC unroll 16")
#define INLINE inline __attribute__((always_inline))

namespace trireme {

namespace {

// Of attention, in registers: queries against 32 positions, or against so many vectors of the output.
constexpr int kTileQueries = 6, kValueVectors = 4;

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
struct M {
  __mmask16 v;
};

INLINE M first_lanes(int64_t count) {
  return {static_cast<__mmask16>(count >= 16 ? 0xffffu : count <= 0 ? 0u : (1u << count) - 1)};
}

INLINE F set(float x) { return {_mm512_set1_ps(x)}; }
INLINE I set(int x) { return {_mm512_set1_epi32(x)}; }
INLINE I lane_numbers() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }

INLINE F load(const float* p) { return {_mm512_loadu_ps(p)}; }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
INLINE F load(const float* p, int64_t count) { return {_mm512_maskz_loadu_ps(first_lanes(count).v, p)}; }
INLINE void store(float* p, F x, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count).v, x.v); }
INLINE void store(uint32_t* p, I x) { _mm512_storeu_si512(p, x.v); }
INLINE void store(int32_t* p, I x) { _mm512_storeu_si512(p, x.v); }
INLINE I load(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
INLINE I load_halves(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
INLINE void store_halves(uint16_t* p, I x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x.v));
}
INLINE void store_bytes(int8_t* p, I x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v)); }

INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
INLINE F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }  // b when one is a NaN
INLINE F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }  // likewise
INLINE F nearest(F x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
INLINE I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
INLINE I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
INLINE I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
INLINE I max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int kBits>
INLINE I shift_left(I x) {
  return {_mm512_slli_epi32(x.v, kBits)};
}
template <int kBits>
INLINE I shift_right(I x) {
  return {_mm512_srli_epi32(x.v, kBits)};
}
template <int kBits>
INLINE I shift_right_signed(I x) {
  return {_mm512_srai_epi32(x.v, kBits)};
}
// The 64-bit products of 32-bit lanes, unsigned.
INLINE void multiply_wide(I a, uint32_t b, I& high, I& low) {
  __m512i factor = _mm512_set1_epi32(static_cast<int>(b));
  __m512i even = _mm512_mul_epu32(a.v, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), factor);
  low.v = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
  high.v = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}

INLINE I to_int(F x) { return {_mm512_cvtps_epi32(x.v)}; }  // to nearest even
INLINE F to_float(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
INLINE I bits(F x) { return {_mm512_castps_si512(x.v)}; }
INLINE F from_bits(I x) { return {_mm512_castsi512_ps(x.v)}; }

INLINE M greater(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
INLINE M equal(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
INLINE M is_nan(F x) { return {_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q)}; }
INLINE M greater(I a, I b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
INLINE M operator|(M a, M b) { return {static_cast<__mmask16>(a.v | b.v)}; }
INLINE M operator&(M a, M b) { return {static_cast<__mmask16>(a.v & b.v)}; }
INLINE bool any(M m) { return m.v != 0; }
INLINE M lanes_between(int begin, int end) {
  return {static_cast<__mmask16>(first_lanes(end).v & ~first_lanes(begin).v)};
}
INLINE F select(M m, F yes, F no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
INLINE I select(M m, I yes, I no) { return {_mm512_mask_blend_epi32(m.v, no.v, yes.v)}; }

INLINE __m256 low_half(F x) { return _mm512_castps512_ps256(x.v); }
INLINE __m256 high_half(F x) { return _mm512_extractf32x8_ps(x.v, 1); }
INLINE __m256i low_half(I x) { return _mm512_castsi512_si256(x.v); }
INLINE __m256i high_half(I x) { return _mm512_extracti32x8_epi32(x.v, 1); }

}  // namespace

}  // namespace trireme

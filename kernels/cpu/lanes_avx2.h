#pragma once

#include <immintrin.h>

#include <cstdint>

// 16 lanes of FP32 or INT32 as two AVX2 registers: the names of lanes_avx512.h.
#define UNROLL _Pragma("GCC unroll 16")
#define INLINE inline __attribute__((always_inline))

namespace trireme {

namespace {

// Of attention, in registers: queries against 32 positions, or against so many vectors of the output.
constexpr int kTileQueries = 2, kValueVectors = 2;

struct F {
  __m256 low, high;
};
struct I {
  __m256i low, high;
};
struct M {
  __m256i low, high;  // all bits of a lane or none
};

INLINE I set(int x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE I lane_numbers() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
INLINE M greater(I a, I b) { return {_mm256_cmpgt_epi32(a.low, b.low), _mm256_cmpgt_epi32(a.high, b.high)}; }
INLINE M first_lanes(int64_t count) {
  return greater(set(static_cast<int>(count > 16 ? 16 : count < 0 ? 0 : count)), lane_numbers());
}

INLINE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
INLINE F load(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  M m = first_lanes(count);
  return {_mm256_maskload_ps(p, m.low), _mm256_maskload_ps(p + 8, m.high)};
}
INLINE void store(float* p, F x, int64_t count) {
  if (count >= 16) return store(p, x);
  M m = first_lanes(count);
  _mm256_maskstore_ps(p, m.low, x.low);
  _mm256_maskstore_ps(p + 8, m.high, x.high);
}
INLINE void store_ints(void* p, I x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), x.low);
  _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, x.high);
}
INLINE void store(uint32_t* p, I x) { store_ints(p, x); }
INLINE void store(int32_t* p, I x) { store_ints(p, x); }
INLINE I load(const uint32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
INLINE I load_halves(const uint16_t* p) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
// The packs work inside 128-bit halves: the permutation puts the quarters in order.
INLINE __m256i pack_halves(I x) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.low, x.high), 0xd8); }
INLINE void store_halves(uint16_t* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), pack_halves(x)); }
INLINE void store_bytes(int8_t* p, I x) {
  __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xd8);
  __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}

INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
INLINE F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)}; }
INLINE F max(F a, F b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }  // b when one is a NaN
INLINE F min(F a, F b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }  // likewise
INLINE F nearest(F x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.low, kMode), _mm256_round_ps(x.high, kMode)};
}

INLINE I operator+(I a, I b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
INLINE I operator-(I a, I b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
INLINE I operator&(I a, I b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
INLINE I operator|(I a, I b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
INLINE I operator^(I a, I b) { return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)}; }
INLINE I max(I a, I b) { return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)}; }
template <int kBits>
INLINE I shift_left(I x) {
  return {_mm256_slli_epi32(x.low, kBits), _mm256_slli_epi32(x.high, kBits)};
}
template <int kBits>
INLINE I shift_right(I x) {
  return {_mm256_srli_epi32(x.low, kBits), _mm256_srli_epi32(x.high, kBits)};
}
template <int kBits>
INLINE I shift_right_signed(I x) {
  return {_mm256_srai_epi32(x.low, kBits), _mm256_srai_epi32(x.high, kBits)};
}
INLINE void multiply_wide(__m256i a, __m256i factor, __m256i& high, __m256i& low) {
  __m256i even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
INLINE void multiply_wide(I a, uint32_t b, I& high, I& low) {
  __m256i factor = _mm256_set1_epi32(static_cast<int>(b));
  multiply_wide(a.low, factor, high.low, low.low);
  multiply_wide(a.high, factor, high.high, low.high);
}

INLINE I to_int(F x) { return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)}; }  // to nearest even
INLINE F to_float(I x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
INLINE I bits(F x) { return {_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)}; }
INLINE F from_bits(I x) { return {_mm256_castsi256_ps(x.low), _mm256_castsi256_ps(x.high)}; }

template <int kCompare>
INLINE M compare(F a, F b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.low, b.low, kCompare)),
          _mm256_castps_si256(_mm256_cmp_ps(a.high, b.high, kCompare))};
}
INLINE M greater(F a, F b) { return compare<_CMP_GT_OQ>(a, b); }
INLINE M equal(F a, F b) { return compare<_CMP_EQ_OQ>(a, b); }
INLINE M is_nan(F x) { return compare<_CMP_UNORD_Q>(x, x); }
INLINE M operator|(M a, M b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
INLINE M operator&(M a, M b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
INLINE bool any(M m) { return _mm256_movemask_epi8(_mm256_or_si256(m.low, m.high)) != 0; }
INLINE M lanes_between(int begin, int end) {
  I lane = lane_numbers();
  return greater(set(end), lane) & greater(lane, set(begin - 1));
}
INLINE I select(M m, I yes, I no) {
  return {_mm256_blendv_epi8(no.low, yes.low, m.low), _mm256_blendv_epi8(no.high, yes.high, m.high)};
}
INLINE F select(M m, F yes, F no) { return from_bits(select(m, bits(yes), bits(no))); }

INLINE __m256 low_half(F x) { return x.low; }
INLINE __m256 high_half(F x) { return x.high; }
INLINE __m256i low_half(I x) { return x.low; }
INLINE __m256i high_half(I x) { return x.high; }

}  // namespace

}  // namespace trireme

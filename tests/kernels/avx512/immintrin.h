// The AVX-512 that kernels/cpu's loops use, on CPUs with AVX2: SIMDe's functions under Intel's names, and below what
// SIMDe 0.7 lacks. A test of the same source that newer CPUs run; what the compiler makes of it for those it cannot
// show.
#pragma once

#pragma GCC system_header  // for include_next
#include_next <immintrin.h>

#define SIMDE_X86_AVX512F_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512VL_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512BW_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512DQ_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512VNNI_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512BF16_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

namespace avx512 {

namespace {

// Bits of one vector type as another of the same size: a vector as two halves, or as its lanes.
template <typename To, typename From>
inline To as(const From& from) {
  static_assert(sizeof(To) == sizeof from);
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
struct Floats {
  __m256 half[2];
};
struct Ints {
  __m256i half[2];
};
template <typename T>
struct Lanes {
  T lane[64 / sizeof(T)];
};

// VDPBF16PS of 8 lanes as Intel's manual has it: the odd columns first, each product fused, subnormals as zeros (SIMDe
// rounds each product). In one asm, or the compiler would move an instruction out of the changed mode.
inline __m256 dot_pairs(__m256 sum, __m256i x, __m256i y) {
  const __m256i odd = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  const __m256 x1 = _mm256_castsi256_ps(_mm256_and_si256(x, odd)), y1 = _mm256_castsi256_ps(_mm256_and_si256(y, odd));
  const __m256 x0 = _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), y0 = _mm256_castsi256_ps(_mm256_slli_epi32(y, 16));
  const unsigned saved = _mm_getcsr(), flushing = 0x9fc0;  // all masked, to nearest, flush to zero, denormals are zeros
  asm volatile(
      "vldmxcsr %1\n\t"
      "vfmadd231ps %3, %4, %0\n\t"
      "vfmadd231ps %5, %6, %0\n\t"
      "vldmxcsr %2"
      : "+&x"(sum)
      : "m"(flushing), "m"(saved), "x"(x1), "x"(y1), "x"(x0), "x"(y0));
  return sum;
}

template <typename Pairs>
inline __m512 dpbf16_ps(__m512 sum, Pairs x, Pairs y) {
  const auto a = as<Floats>(sum);
  const auto b = as<Ints>(x), c = as<Ints>(y);
  return as<__m512>(Floats{{dot_pairs(a.half[0], b.half[0], c.half[0]), dot_pairs(a.half[1], b.half[1], c.half[1])}});
}

inline __m512 cvtph_ps(__m256i x) {
  return as<__m512>(
      Floats{{_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))}});
}
inline __m512 cvtepi32_ps(__m512i x) {
  const auto a = as<Ints>(x);
  return as<__m512>(Floats{{_mm256_cvtepi32_ps(a.half[0]), _mm256_cvtepi32_ps(a.half[1])}});
}
inline __m512i cvtps_epi32(__m512 x) {
  const auto a = as<Floats>(x);
  return as<__m512i>(Ints{{_mm256_cvtps_epi32(a.half[0]), _mm256_cvtps_epi32(a.half[1])}});
}
inline __m512i cvtepu16_epi32(__m256i x) {
  return as<__m512i>(
      Ints{{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1))}});
}
inline __m512i srai_epi32(__m512i x, int bits) {
  const auto a = as<Ints>(x);
  return as<__m512i>(Ints{{_mm256_srai_epi32(a.half[0], bits), _mm256_srai_epi32(a.half[1], bits)}});
}
inline __m256 extractf32x8_ps(__m512 x, int half) { return as<Floats>(x).half[half]; }
inline __m256i extracti32x8_epi32(__m512i x, int half) { return as<Ints>(x).half[half]; }

// Narrowing keeps the low bits.
template <typename Narrow, typename To>
inline To narrowed(__m512i x) {
  const auto a = as<Lanes<int>>(x);
  Narrow out[16];
  for (int i = 0; i < 16; i++) out[i] = static_cast<Narrow>(a.lane[i]);
  return as<To>(out);
}
inline __m256i cvtepi32_epi16(__m512i x) { return narrowed<short, __m256i>(x); }
inline __m128i cvtepi32_epi8(__m512i x) { return narrowed<signed char, __m128i>(x); }

// Memory outside of the mask is not touched.
inline __m512 maskz_loadu_ps(__mmask16 mask, const float* p) {
  Lanes<float> out = {};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) out.lane[i] = p[i];
  return as<__m512>(out);
}
inline void mask_storeu_ps(float* p, __mmask16 mask, __m512 x) {
  const auto a = as<Lanes<float>>(x);
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) p[i] = a.lane[i];
}

}  // namespace

}  // namespace avx512

#undef _mm512_dpbf16_ps
#undef _mm512_cvtph_ps
#undef _mm512_srai_epi32
#undef _mm512_extractf32x8_ps
#undef _mm512_extracti32x8_epi32
#define _mm512_dpbf16_ps avx512::dpbf16_ps
#define _mm512_cvtph_ps avx512::cvtph_ps
#define _mm512_cvtepi32_ps avx512::cvtepi32_ps
#define _mm512_cvtps_epi32 avx512::cvtps_epi32
#define _mm512_cvtepu16_epi32 avx512::cvtepu16_epi32
#define _mm512_srai_epi32 avx512::srai_epi32
#define _mm512_extractf32x8_ps avx512::extractf32x8_ps
#define _mm512_extracti32x8_epi32 avx512::extracti32x8_epi32
#define _mm512_cvtepi32_epi16 avx512::cvtepi32_epi16
#define _mm512_cvtepi32_epi8 avx512::cvtepi32_epi8
#define _mm512_maskz_loadu_ps avx512::maskz_loadu_ps
#define _mm512_mask_storeu_ps avx512::mask_storeu_ps

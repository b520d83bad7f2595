#include "bench/peak.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>

namespace trireme {

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr int kChains = 12;  // enough to hide the latency of two pipes
constexpr int kSteps = 400000;

__attribute__((target("avx512f,avx512bf16,avx512vnni"))) void spin(Peak what) {
  __m512 sum[kChains];
  __m512i dot[kChains], x = _mm512_setzero_si512();
  for (int i = 0; i < kChains; i++) sum[i] = _mm512_setzero_ps(), dot[i] = x;
  asm volatile("" : "+v"(x));
  for (int step = 0; step < kSteps; step++) {
    if (what == Peak::f32)
#pragma GCC unroll 12
      for (int i = 0; i < kChains; i++)
        sum[i] = _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(x), sum[i]);
    if (what == Peak::bf16)
#pragma GCC unroll 12
      for (int i = 0; i < kChains; i++)
        sum[i] = _mm512_dpbf16_ps(sum[i], reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(x));
    if (what == Peak::int8)
#pragma GCC unroll 12
      for (int i = 0; i < kChains; i++) dot[i] = _mm512_dpbusd_epi32(dot[i], x, x);
  }
  for (int i = 0; i < kChains; i++) asm volatile("" ::"v"(sum[i]), "v"(dot[i]));
}

__attribute__((target("avx512f"))) void read(const std::byte* p, const std::byte* end) {
  __m512i sum[4] = {};
  for (; p + 256 <= end; p += 256)
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(p + 64 * i));
  for (int i = 0; i < 4; i++) asm volatile("" ::"v"(sum[i]));
}

template <typename F>
double best_of(int rounds, const F& f) {
  double best = 1e9;
  for (int i = 0; i < rounds; i++) {
    double start = seconds();
    f();
    best = std::min(best, seconds() - start);
  }
  return best;
}

}  // namespace

double operations_per_second(ThreadPool& pool, Peak what) {
  double per_lane = what == Peak::f32 ? 2 : what == Peak::bf16 ? 4 : 8;
  double time = best_of(5, [&] { pool.run([&](int) { spin(what); }); });
  return 16 * per_lane * kChains * kSteps * pool.size() / time;
}

double read_bytes_per_second(ThreadPool& pool, const Buffer& memory) {
  double time = best_of(4, [&] {
    pool.run([&](int part) {
      Range mine = part_of(static_cast<int64_t>(memory.bytes() / 256), part, pool.size());
      read(memory.data() + mine.begin * 256, memory.data() + mine.end * 256);
    });
  });
  return static_cast<double>(memory.bytes()) / time;
}

}  // namespace trireme

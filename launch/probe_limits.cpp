#include "launch/probe_limits.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>

#include "base/buffer.h"

namespace trireme {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kReadBytes = int64_t{512} << 20;  // far above any L3 of today
constexpr size_t kCopyBytes = size_t{256} << 20;    // far above a GPU's L2
constexpr int kCopies = 8;                          // of a sample: the wait for the last costs next to nothing
constexpr int kSamples = 4;
constexpr int kRounds = 1'000'000;  // of a peak loop: some milliseconds
constexpr int kChains = 16;         // independent sums: enough to hide the latency of 4 to 6 cycles on two ports

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Operations a lane does in one instruction: a multiply-add is two.
constexpr double kFmaOps = 2, kBf16Ops = 4, kInt8Ops = 8;

// No asm inside loops over all registers: with one, gcc 12 spills the sums and the loop shows half the peak.
__attribute__((target("avx512f"))) void fma_avx512() {
  __m512 sum[kChains], a = _mm512_set1_ps(1.0000001f), b = _mm512_set1_ps(1e-7f);
  asm volatile("" : "+v"(a), "+v"(b));
  for (__m512& s : sum) s = a;
  for (int round = 0; round < kRounds; round++)
#pragma GCC unroll 16
    for (__m512& s : sum) s = _mm512_fmadd_ps(a, b, s);
  for (__m512& s : sum) asm volatile("" : "+v"(s));
}

__attribute__((target("avx2,fma"))) void fma_avx2() {
  __m256 sum[kChains], a = _mm256_set1_ps(1.0000001f), b = _mm256_set1_ps(1e-7f);
  asm volatile("" : "+x"(a), "+x"(b));
  for (__m256& s : sum) s = a;
  for (int round = 0; round < kRounds; round++)
#pragma GCC unroll 16
    for (__m256& s : sum) s = _mm256_fmadd_ps(a, b, s);
  for (__m256& s : sum) asm volatile("" : "+x"(s));
}

__attribute__((target("avx512f,avx512bf16"))) void bf16_avx512() {
  __m512 sum[kChains];
  __m512i one = _mm512_set1_epi16(0x3f80);
  asm volatile("" : "+v"(one));
  __m512bh a = reinterpret_cast<__m512bh>(one);
  for (__m512& s : sum) s = _mm512_setzero_ps();
  for (int round = 0; round < kRounds; round++)
#pragma GCC unroll 16
    for (__m512& s : sum) s = _mm512_dpbf16_ps(s, a, a);
  for (__m512& s : sum) asm volatile("" : "+v"(s));
}

__attribute__((target("avx512f,avx512vnni"))) void int8_avx512() {
  __m512i sum[kChains], one = _mm512_set1_epi8(1);
  asm volatile("" : "+v"(one));
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (int round = 0; round < kRounds; round++)
#pragma GCC unroll 16
    for (__m512i& s : sum) s = _mm512_dpbusd_epi32(s, one, one);
  for (__m512i& s : sum) asm volatile("" : "+v"(s));
}

// Two products a lane of 16 bits and their sum. The asm keeps the product, which is always the same, in the loop; it
// reaches two a cycle, as many as the multiply-adds beside it (measured on Zen 3).
__attribute__((target("avx2"))) void int8_avx2() {
  constexpr int kShortChains = kChains / 2;  // twice each round: factor and sums fit sixteen registers
  __m256i sum[kShortChains], one = _mm256_set1_epi8(1);
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int round = 0; round < 2 * kRounds; round++)
#pragma GCC unroll 8
    for (__m256i& s : sum) {
      asm volatile("" : "+x"(one));
      s = _mm256_add_epi16(s, _mm256_maddubs_epi16(one, one));
    }
  for (__m256i& s : sum) asm volatile("" : "+x"(s));
}

double best_rate(ThreadPool& pool, double ops_per_round, void (*loop)()) {
  double best = 0;
  for (int sample = 0; sample < kSamples; sample++) {
    auto start = Clock::now();
    pool.run([&](int) { loop(); });
    best = std::max(best, ops_per_round * kRounds * kChains * pool.size() / seconds_since(start));
  }
  return best / 1e9;
}

// Sums 64-bit words in chains, by loads as wide as the CPU has: with narrower ones a core alone reads a fifth to a
// third less (measured on Zen 4, 16 bytes beside 64).
using ReadLoop = void (*)(const uint64_t* words, int64_t count);
void read_words(const uint64_t* words, int64_t count) {
  uint64_t sum[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8)
    for (int j = 0; j < 8; j++) sum[j] += words[i + j];
  for (uint64_t s : sum) asm volatile("" : : "r"(s));  // all are wanted
}
__attribute__((target("avx2"))) void read_avx2(const uint64_t* words, int64_t count) {
  __m256i sum[8] = {};
  for (int64_t i = 0; i + 32 <= count; i += 32)
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
      sum[j] = _mm256_add_epi64(sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i) + j));
  for (__m256i& s : sum) asm volatile("" : : "x"(s));
}
__attribute__((target("avx512f"))) void read_avx512(const uint64_t* words, int64_t count) {
  __m512i sum[8] = {};
  for (int64_t i = 0; i + 64 <= count; i += 64)
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
      sum[j] = _mm512_add_epi64(sum[j], _mm512_loadu_si512(reinterpret_cast<const __m512i*>(words + i) + j));
  for (__m512i& s : sum) asm volatile("" : : "v"(s));
}
ReadLoop read_loop() {
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  return __builtin_cpu_supports("avx2") ? read_avx2 : read_words;
}

}  // namespace

double probe_read_gbps(ThreadPool& pool) {
  Buffer buffer(kReadBytes, "the bandwidth probe");
  int64_t words = kReadBytes / 8;
  uint64_t* data = buffer.as<uint64_t>();
  pool.run([&](int part) {  // pages that were never written are all one page of zeros
    Range range = part_of(words, part, pool.size());
    std::fill(data + range.begin, data + range.end, uint64_t{1});
  });
  const ReadLoop read = read_loop();
  double best = 0;
  for (int sample = 0; sample < kSamples; sample++) {
    auto start = Clock::now();
    pool.run([&](int part) {
      Range range = part_of(words, part, pool.size());
      read(data + range.begin, range.end - range.begin);
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds_since(start) / 1e9);
  }
  return best;
}

double probe_copy_gbps(Device& device) {
  const Buffer from = device.allocate(kCopyBytes, "the bandwidth probe");
  const Buffer to = device.allocate(kCopyBytes, "the bandwidth probe");
  double best = 0;
  for (int sample = -1; sample < kSamples; sample++) {  // -1: to warm up
    device.synchronize();
    auto start = Clock::now();
    for (int copy = 0; copy < kCopies; copy++) device.copy(to.data(), from.data(), kCopyBytes);
    device.synchronize();
    if (sample >= 0) best = std::max(best, 2.0 * kCopies * kCopyBytes / seconds_since(start) / 1e9);
  }
  return best;
}

CpuArithmetic cpu_arithmetic(const Limits& limits, double times) {
  return {.bf16_flops = times * std::max(limits.fma_gflops, limits.bf16_gflops) * 1e9,
          .int8_ops = times * limits.int8_gops * 1e9};
}

Limits probe_limits(ThreadPool& pool) {
  Limits limits = probe_arithmetic(pool);
  limits.read_gbps = probe_read_gbps(pool);
  return limits;
}

Limits probe_arithmetic(ThreadPool& pool) {
  Limits limits;
  if (__builtin_cpu_supports("avx512f"))
    limits.fma_gflops = best_rate(pool, 16 * kFmaOps, fma_avx512);
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    limits.fma_gflops = best_rate(pool, 8 * kFmaOps, fma_avx2);
  if (__builtin_cpu_supports("avx512bf16")) limits.bf16_gflops = best_rate(pool, 16 * kBf16Ops, bf16_avx512);
  if (__builtin_cpu_supports("avx512vnni"))
    limits.int8_gops = best_rate(pool, 16 * kInt8Ops, int8_avx512);
  else if (__builtin_cpu_supports("avx2"))
    limits.int8_gops = best_rate(pool, 8 * kInt8Ops, int8_avx2);
  return limits;
}

}  // namespace trireme

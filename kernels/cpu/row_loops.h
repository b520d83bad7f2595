// Loops over one row, written once over 16 lanes. The file that includes this has included the lanes of its instruction
// set before. Every step is the reference's (cpu/reference.cpp, elementary.h), lane by lane.

namespace trireme {

namespace {

// 16 lanes in the fixed order: halves, pairwise.
INLINE float sum_of(F x) {
  __m256 a = _mm256_add_ps(low_half(x), high_half(x));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
INLINE int sum_of(I x) {
  __m256i a = _mm256_add_epi32(low_half(x), high_half(x));
  __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}
INLINE int largest_of(I x) {
  __m256i a = _mm256_max_epi32(low_half(x), high_half(x));
  __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}
INLINE float largest_of(F x) {
  __m256 a = _mm256_max_ps(low_half(x), high_half(x));
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

INLINE F absolute(F x) { return from_bits(bits(x) & set(0x7fffffff)); }
INLINE F negated(F x) { return from_bits(bits(x) ^ set(static_cast<int>(0x80000000u))); }
INLINE F power_of_two(I n) { return from_bits(shift_left<23>(n + set(127))); }

INLINE F exp_lanes(F x) {
  x = min(set(kExpHighest), max(set(kExpLowest), x));  // in this order of operands a NaN stays
  F n = nearest(x * set(kLog2E));
  F r = fma(n, set(-kLn2Low), fma(n, set(-kLn2High), x));
  F sum = set(kExpTaylor[0]);
  UNROLL
  for (int i = 1; i < 8; i++) sum = fma(sum, r, set(kExpTaylor[i]));
  I exponent = to_int(n), half = shift_right_signed<1>(exponent);
  return sum * power_of_two(half) * power_of_two(exponent - half);
}

INLINE F log_lanes(F x) {
  I shifted = bits(x) - set(static_cast<int>(kSqrtHalfBits));
  F e = to_float(shift_right_signed<23>(shifted));
  F m = from_bits((shifted & set(0x007fffff)) + set(static_cast<int>(kSqrtHalfBits)));
  F f = m - set(1.0f), s = f / (m + set(1.0f)), s2 = s * s;
  F sum = set(kAtanhSeries[0]);
  UNROLL
  for (int i = 1; i < 4; i++) sum = fma(sum, s2, set(kAtanhSeries[i]));
  F twice = s + s;
  return fma(e, set(kLn2High), fma(e, set(kLn2Low), fma(twice * s2, sum, twice)));
}

INLINE F tanh_lanes(F x) {
  F a = absolute(x), a2 = a * a, sum = set(kTanhFit[0]);
  UNROLL
  for (int i = 1; i < 5; i++) sum = fma(sum, a2, set(kTanhFit[i]));
  F small = fma(a * a2, sum, a), large = set(1.0f) - set(2.0f) / (exp_lanes(a + a) + set(1.0f));
  F result = select(greater(set(kTanhSmall), a), small, large);
  return from_bits(bits(result) | (bits(x) & set(static_cast<int>(0x80000000u))));
}
INLINE F soft_cap_lanes(F x, F cap) { return cap * tanh_lanes(x / cap); }
INLINE F silu_lanes(F x) { return x / (set(1.0f) + exp_lanes(negated(x))); }
INLINE F gelu_tanh_lanes(F x) {
  F twice_u = x * fma(x * x, set(kGeluCubic), set(kGeluLinear));
  return x / (set(1.0f) + exp_lanes(negated(twice_u)));
}

INLINE I round_to_bf16(F x) {
  I u = bits(x);
  I rounded = shift_right<16>(u + set(0x7fff) + (shift_right<16>(u) & set(1)));
  return select(is_nan(x), shift_right<16>(u) | set(0x40), rounded);
}

float sum_squares(const float* x, int64_t columns) {
  F sum = set(0.0f);
  for (int64_t k = 0; k < columns; k += 16) {
    F v = load(x + k, columns - k);
    sum = fma(v, v, sum);
  }
  return sum_of(sum);
}

void scale_by(const float* x, const float* weight, float factor, int64_t columns, float* out) {
  F f = set(factor);
  for (int64_t k = 0; k < columns; k += 16)
    store(out + k, load(x + k, columns - k) * f * load(weight + k, columns - k), columns - k);
}

void norm_row(const float* x, const float* weight, int64_t columns, float epsilon, float* out) {
  float mean = sum_squares(x, columns) / static_cast<float>(columns);
  scale_by(x, weight, 1.0f / __builtin_sqrtf(mean + epsilon), columns, out);
}

void encode_bf16_row(const float* x, int64_t columns, int64_t padded, uint16_t* out) {
  int64_t k = 0;
  for (; k + 16 <= columns; k += 16) store_halves(out + k, round_to_bf16(load(x + k)));
  uint32_t rest[16];
  store(rest, round_to_bf16(load(x + k, columns - k)));
  for (int i = 0; k + i < padded; i++) out[k + i] = i < 16 ? static_cast<uint16_t>(rest[i]) : uint16_t{0};
}

// As Int8Group in kernels.h.
struct Group {
  int8_t code[32];
  float scale, scaled_sum;
  int32_t minus_8_sum, minus_128_sum;
};

INLINE void encode_group(F x0, F x1, Group& group) {
  int largest = largest_of(max(bits(absolute(x0)), bits(absolute(x1))));
  float amax = __builtin_bit_cast(float, largest);
  if (largest >= 0x7f800000 || amax < kSmallestGroup) {
    group = {};
    if (largest >= 0x7f800000) group.scale = group.scaled_sum = __builtin_nanf("");
    return;
  }
  F inverse = set(127.0f / amax);
  I code0 = to_int(x0 * inverse), code1 = to_int(x1 * inverse);
  int sum = sum_of(code0 + code1);
  store_bytes(group.code, code0);
  store_bytes(group.code + 16, code1);
  group.scale = amax / 127.0f;
  group.scaled_sum = group.scale * static_cast<float>(sum);
  group.minus_8_sum = -8 * sum;
  group.minus_128_sum = -128 * sum;
}

void encode_int8_row(const float* x, int64_t columns, void* out) {
  Group* groups = static_cast<Group*>(out);
  for (int64_t k = 0; k < columns; k += 32)
    encode_group(load(x + k, columns - k), load(x + k + 16, columns - k - 16), groups[k / 32]);
}

void softmax_row(const float* x, int64_t columns, float* p) {
  const F none = set(-__builtin_inff());
  F top = none, sum = set(0.0f);
  for (int64_t k = 0; k < columns; k += 16)
    top = max(select(first_lanes(columns - k), load(x + k, columns - k), none), top);
  F largest = set(largest_of(top));
  for (int64_t k = 0; k < columns; k += 16) {
    F e = select(first_lanes(columns - k), exp_lanes(load(x + k, columns - k) - largest), set(0.0f));
    sum = sum + e;
    store(p + k, e, columns - k);
  }
  F all = set(sum_of(sum));
  for (int64_t k = 0; k < columns; k += 16) store(p + k, load(p + k, columns - k) / all, columns - k);
}

void silu_mul_row(const float* gate, const float* up, int64_t columns, float* out) {
  for (int64_t k = 0; k < columns; k += 16)
    store(out + k, silu_lanes(load(gate + k, columns - k)) * load(up + k, columns - k), columns - k);
}
void gelu_mul_row(const float* gate, const float* up, int64_t columns, float* out) {
  for (int64_t k = 0; k < columns; k += 16)
    store(out + k, gelu_tanh_lanes(load(gate + k, columns - k)) * load(up + k, columns - k), columns - k);
}

void add_row(const float* y, int64_t columns, float* x) {
  for (int64_t k = 0; k < columns; k += 16)
    store(x + k, load(x + k, columns - k) + load(y + k, columns - k), columns - k);
}
void add_scaled_row(const float* y, float scale, int64_t columns, float* x) {
  F s = set(scale);
  for (int64_t k = 0; k < columns; k += 16)
    store(x + k, load(x + k, columns - k) + load(y + k, columns - k) * s, columns - k);
}
void scale_row(float scale, float softcap, int64_t columns, float* x) {
  F s = set(scale), cap = set(softcap);
  for (int64_t k = 0; k < columns; k += 16) {
    F v = load(x + k, columns - k) * s;
    store(x + k, softcap > 0 ? soft_cap_lanes(v, cap) : v, columns - k);
  }
}

void rotate_head(const float* cosine, const float* sine, int half, float* x) {
  for (int i = 0; i < half; i += 16) {
    int64_t left = half - i;
    F c = load(cosine + i, left), s = load(sine + i, left), a = load(x + i, left), b = load(x + half + i, left);
    store(x + i, fma(a, c, negated(b * s)), left);
    store(x + half + i, fma(b, c, a * s), left);
  }
}

void combine_run(const CombineRun& run) {
  F stack[kMaxTreeDepth];
  for (int64_t k = 0; k < run.columns; k += 16) {
    int64_t left = run.columns - k;
    int depth = 0;
    for (int node = 0; node < run.count; node++) {
      F sum = load(run.nodes[node] + run.offset + k, left);
      for (int pops = run.pops[node]; pops > 0; pops--) sum = stack[--depth] + sum;
      stack[depth++] = sum;
    }
    store(run.out + k, run.accumulate ? load(run.out + k, left) + stack[0] : stack[0], left);
  }
}

void combine_experts(const ExpertRun& run) {
  F stack[kMaxTreeDepth];
  for (int64_t k = 0; k < run.columns; k += 16) {
    int64_t left = run.columns - k;
    int depth = 0;
    for (int leaf = 0; leaf < run.count; leaf++) {
      F sum = load(run.leaves[leaf] + k, left) * set(run.weights[leaf]);
      for (int pops = run.pops[leaf]; pops > 0; pops--) sum = stack[--depth] + sum;
      stack[depth++] = sum;
    }
    F sum = run.count > 0 ? stack[0] : set(0.0f);
    store(run.out + k, run.add_zero ? sum + set(0.0f) : sum, left);
  }
}

// The noise's random words of 64 tokens from `counter` * 4 on, in the tokens' order.
INLINE void philox_words(uint64_t key, int32_t position, uint32_t counter, uint32_t* words) {
  I c[4] = {lane_numbers() + set(static_cast<int>(counter)), set(position), set(0), set(0)};
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; round++) {
    I high0, low0, high1, low1;
    multiply_wide(c[0], kPhiloxMultiply[0], high0, low0);
    multiply_wide(c[2], kPhiloxMultiply[1], high1, low1);
    c[0] = high1 ^ c[1] ^ set(static_cast<int>(key0));
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ set(static_cast<int>(key1));
    c[3] = low0;
    key0 += kPhiloxWeyl[0];
    key1 += kPhiloxWeyl[1];
  }
  uint32_t by_word[4][16];
  for (int w = 0; w < 4; w++) store(by_word[w], c[w]);
  for (int i = 0; i < 64; i++) words[i] = by_word[i % 4][i / 4];
}

// RankBound::holds of tokens in order.
INLINE M ranks_before(F logits, I tokens, float logit, int32_t token) {
  const F bound = set(logit);
  return greater(logits, bound) | (equal(logits, bound) & greater(set(token), tokens));
}

INLINE F gumbel(I word) {
  F u = (to_float(shift_right<9>(word)) + set(0.5f)) * set(0x1p-23f);
  return negated(log_lanes(negated(log_lanes(u))));
}

void sample_row(const SampleLoop& a) {
  F best = set(0.0f);
  I best_token = set(-1);
  M nan = first_lanes(0);
  uint32_t words[64] = {};
  uint32_t begin = static_cast<uint32_t>(a.first_token), end = begin + static_cast<uint32_t>(a.tokens);
  for (uint32_t base = begin / 64 * 64; base < end; base += 64) {
    if (a.temperature > 0) philox_words(a.key, a.position, base / 4, words);
    for (uint32_t i = 0; i < 64; i += 16) {
      // Lanes before the first token held and after the last are left out.
      int64_t before = int64_t{begin} - (base + i), count = int64_t{end} - (base + i);
      if (count <= 0 || before >= 16) continue;
      alignas(64) float edge[16] = {};
      const float* logits = a.logits - before;
      if (before > 0 || count < 16) {
        for (int64_t lane = before > 0 ? before : 0; lane < count && lane < 16; lane++) edge[lane] = logits[lane];
        logits = edge;
      }
      F score = load(logits);
      M held = greater(lane_numbers(), set(static_cast<int>(before > 0 ? before : 0) - 1)) & first_lanes(count);
      nan = nan | (is_nan(score) & held);
      I tokens = lane_numbers() + set(static_cast<int>(base + i));
      held = held & ranks_before(score, tokens, a.before_logit, a.before_token);
      if (a.temperature > 0) score = score / set(a.temperature) + gumbel(load(words + i));
      M better = held & (greater(score, best) | greater(set(0), best_token));
      best = select(better, score, best);
      best_token = select(better, tokens, best_token);
    }
  }
  *a.token = -1;
  float scores[16];
  int32_t tokens[16];
  store(scores, best);
  store(tokens, best_token);
  for (int i = 0; i < 16 && !any(nan); i++) {
    if (tokens[i] < 0) continue;
    if (*a.token >= 0 && !(scores[i] > *a.score || (scores[i] == *a.score && tokens[i] < *a.token))) continue;
    *a.score = scores[i];
    *a.token = tokens[i];
  }
}

PlacesFound places_above(const PlacesAbove& a) {
  PlacesFound found;
  found.next = a.from;
  const F least = set(a.least);
  for (; found.next < a.count && found.places + 16 <= a.room; found.next += 16) {
    const int64_t left = a.count - found.next;
    const M above = greater(load(a.x + found.next, left), least) & first_lanes(left);
    if (!any(above)) continue;
    int32_t lanes[16];
    store(lanes, select(above, set(1), set(0)));
    for (int i = 0; i < 16; i++) {
      a.places[found.places] = found.next + i;
      found.places += lanes[i];
    }
  }
  if (found.next > a.count) found.next = a.count;
  return found;
}

void exp_sum(const ExpSumLoop& a) {
  const F none = set(-__builtin_inff());
  F top = none, sum = set(0.0f);
  for (int32_t k = 0; k < a.columns; k += 16) {
    const int64_t left = a.columns - k;
    top = max(select(first_lanes(left), load(a.x + k, left), none), top);
  }
  *a.largest = largest_of(top);
  *a.sum = 0;
  if (!(*a.largest > -__builtin_inff())) return;
  const F most = set(*a.largest), divisor = set(a.temperature);
  for (int32_t k = 0; k < a.columns; k += 16) {
    const int64_t left = a.columns - k;
    const F x = load(a.x + k, left);
    const M held =
        first_lanes(left) & ranks_before(x, lane_numbers() + set(a.first_token + k), a.before_logit, a.before_token);
    sum = sum + select(held, exp_lanes((x - most) / divisor), set(0.0f));
  }
  *a.sum = sum_of(sum);
}

}  // namespace

}  // namespace trireme

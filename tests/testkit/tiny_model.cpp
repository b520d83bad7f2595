#include "testkit/tiny_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <stdexcept>

#include "base/dtype.h"

namespace trireme::testkit {

namespace {

// Counter-based: value i of a stream depends on (seed, stream, i) alone.
struct Random {
  uint64_t state;
  uint64_t next() {  // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // Nearly normal, variance 1: four uniforms, no libm.
  float normal() {
    uint64_t r = next();
    int32_t sum = 0;
    for (int i = 0; i < 4; i++) sum += static_cast<int32_t>(r >> (16 * i) & 0xffff) - 32768;
    return static_cast<float>(sum) / 37837.2f;  // 32768 * sqrt(4 / 3)
  }
};

uint16_t to_f16(float x) {  // for normal results and zero; rounds to nearest, ties away
  uint32_t u = std::bit_cast<uint32_t>(x), sign = u >> 16 & 0x8000u;
  u = (u & 0x7fffffffu) + 0x1000u;
  if (u < 0x38800000u) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | ((u - 0x38000000u) >> 13));
}

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

float scale_and_append(std::string& out, float scale) {
  uint16_t half = to_f16(scale);
  append(out, half);
  return to_float(F16{half});
}

uint32_t code(float x, float scale, int zero, int most) {
  int c = scale == 0 ? zero : static_cast<int>(std::floor(x / scale + 0.5f)) + zero;
  return static_cast<uint32_t>(std::clamp(c, 0, most));
}

void append_nibbles(std::string& out, const uint32_t (&codes)[32]) {
  for (int i = 0; i < 16; i++) out.push_back(static_cast<char>(codes[i] | codes[i + 16] << 4));
}

void append_block(std::string& out, const std::string& type, const float* x) {
  auto [low, high] = std::minmax_element(x, x + 32);
  float most = std::max(std::abs(*low), std::abs(*high));
  uint32_t codes[32];
  if (type == "q8_0") {
    float scale = scale_and_append(out, most / 127);
    for (int i = 0; i < 32; i++) out.push_back(static_cast<char>(code(x[i], scale, 128, 255) - 128));
  } else if (type == "q4_0") {
    float scale = scale_and_append(out, most / 8);
    for (int i = 0; i < 32; i++) codes[i] = code(x[i], scale, 8, 15);
    append_nibbles(out, codes);
  } else {
    float scale = scale_and_append(out, (*high - *low) / 15), minimum = scale_and_append(out, *low);
    for (int i = 0; i < 32; i++) codes[i] = code(x[i] - minimum, scale, 0, 15);
    append_nibbles(out, codes);
  }
}

// 256 columns: { FP16 d, dmin; scales and minimums of eight groups of 32, 6 bits each; nibbles, 32 low ones, 32 high }.
void append_q4_k(std::string& out, const float* x) {
  float scales[8], minimums[8];
  for (int g = 0; g < 8; g++) {
    auto [low, high] = std::minmax_element(x + g * 32, x + g * 32 + 32);
    minimums[g] = std::max(0.0f, -*low);
    scales[g] = std::max(0.0f, *high + minimums[g]) / 15;
  }
  const float d = scale_and_append(out, *std::max_element(scales, scales + 8) / 63),
              dmin = scale_and_append(out, *std::max_element(minimums, minimums + 8) / 63);
  uint8_t packed[12] = {}, codes[128] = {};
  for (int g = 0; g < 8; g++) {
    const uint32_t scale = code(scales[g], d, 0, 63), minimum = code(minimums[g], dmin, 0, 63);
    if (g < 4) {
      packed[g] = static_cast<uint8_t>(scale);
      packed[g + 4] = static_cast<uint8_t>(minimum);
    } else {
      packed[g + 4] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
      packed[g - 4] = static_cast<uint8_t>(packed[g - 4] | scale >> 4 << 6);
      packed[g] = static_cast<uint8_t>(packed[g] | minimum >> 4 << 6);
    }
    for (int i = 0; i < 32; i++) {
      const float above = x[g * 32 + i] + dmin * static_cast<float>(minimum);
      const uint32_t c = code(above, d * static_cast<float>(scale), 0, 15);
      codes[g / 2 * 32 + i] = static_cast<uint8_t>(codes[g / 2 * 32 + i] | c << (g % 2 * 4));
    }
  }
  out.append(reinterpret_cast<const char*>(packed), sizeof packed);
  out.append(reinterpret_cast<const char*>(codes), sizeof codes);
}

// 256 columns: { 128 bytes of low nibbles; 64 bytes of two high bits; 16 signed scales of groups of 16; FP16 d }.
void append_q6_k(std::string& out, const float* x) {
  float scales[16], most = 0;
  for (int g = 0; g < 16; g++) {
    auto [low, high] = std::minmax_element(x + g * 16, x + g * 16 + 16);
    scales[g] = std::max(std::abs(*low), std::abs(*high)) / 31;
    most = std::max(most, scales[g]);
  }
  std::string half;
  const float d = scale_and_append(half, most / 12);  // no subnormal FP16
  uint8_t low[128] = {}, high[64] = {};
  int8_t of_group[16];
  for (int g = 0; g < 16; g++) of_group[g] = static_cast<int8_t>(code(scales[g], d, 0, 12) * (g % 3 == 1 ? -1u : 1u));
  for (int c = 0; c < 256; c++) {
    const uint32_t q = code(x[c], d * static_cast<float>(of_group[c / 16]), 32, 63);
    uint8_t &nibbles = low[c / 128 * 64 + c % 64], &pairs = high[c / 128 * 32 + c % 32];
    nibbles = static_cast<uint8_t>(nibbles | (q & 15) << (c % 128 / 64 * 4));
    pairs = static_cast<uint8_t>(pairs | q >> 4 << (c % 128 / 32 * 2));
  }
  out.append(reinterpret_cast<const char*>(low), sizeof low);
  out.append(reinterpret_cast<const char*>(high), sizeof high);
  out.append(reinterpret_cast<const char*>(of_group), sizeof of_group);
  out += half;
}

uint32_t type_id(const std::string& type) {
  constexpr std::pair<const char*, uint32_t> ids[] = {{"f32", 0},  {"f16", 1},  {"bf16", 30}, {"q8_0", 8},
                                                      {"q4_0", 2}, {"q4_1", 3}, {"q4_k", 12}, {"q6_k", 14}};
  for (auto [name, id] : ids)
    if (type == name) return id;
  throw std::invalid_argument("unknown type " + type);
}

std::string weights(const std::string& type, int64_t rows, int64_t columns, float scale, float middle, uint64_t seed) {
  Random random{seed};
  std::vector<float> row(static_cast<size_t>(columns));
  std::string out;
  const bool super = type.ends_with("_k");
  if (type.starts_with("q") && columns % (super ? 256 : 32) != 0)
    throw std::invalid_argument("quantized types need columns in multiples of 32, K-quants of 256");
  for (int64_t r = 0; r < rows; r++) {
    for (float& x : row) x = middle + scale * random.normal();
    if (super) {
      for (int64_t c = 0; c < columns; c += 256) (type == "q4_k" ? append_q4_k : append_q6_k)(out, row.data() + c);
      continue;
    }
    if (type.starts_with("q")) {
      for (int64_t c = 0; c < columns; c += 32) append_block(out, type, row.data() + c);
      continue;
    }
    for (float x : row) {
      if (type == "f32")
        append(out, x);
      else
        append(out, type == "f16" ? to_f16(x) : to_bf16(x).bits);
    }
  }
  return out;
}

void append_utf8(std::string& out, uint32_t point) {
  if (point < 0x80)
    out.push_back(static_cast<char>(point));
  else
    out.push_back(static_cast<char>(0xc0 | point >> 6)), out.push_back(static_cast<char>(0x80 | (point & 63)));
}

// GPT-2's alphabet: a printable character for each byte.
std::vector<std::string> byte_alphabet() {
  std::vector<std::string> all(256);
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; b++) {
    bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    append_utf8(all[b], printable ? b : next++);
  }
  return all;
}

// Three special tokens, the bytes, then merges of a known token and a letter until the vocabulary is full.
void add_tokenizer(GgufWriter& w, int vocab) {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, merges, alphabet = byte_alphabet();
  std::vector<int32_t> types = {3, 3, 3};
  for (const std::string& byte : alphabet) tokens.push_back(byte);
  std::set<std::string> seen(tokens.begin(), tokens.end());
  std::vector<std::string> stems = {alphabet[' ']};
  for (char c = 'a'; c <= 'z'; c++) stems.push_back(std::string(1, c));
  for (size_t i = 0; static_cast<int>(tokens.size()) < vocab; i++) {
    std::string stem = stems[i / 26], letter(1, static_cast<char>('a' + i % 26));
    if (!seen.insert(stem + letter).second) continue;
    merges.push_back(stem + " " + letter);
    tokens.push_back(stem + letter);
    stems.push_back(stem + letter);
  }
  tokens.resize(static_cast<size_t>(vocab));
  types.resize(tokens.size(), 1);
  w.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "smollm");
  w.texts("tokenizer.ggml.tokens", tokens)
      .i32s("tokenizer.ggml.token_type", types)
      .texts("tokenizer.ggml.merges", merges);
  w.u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2)
      .boolean("tokenizer.ggml.add_bos_token", false);
  w.text("tokenizer.chat_template",
         "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
         "'\n'}}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}");
}

}  // namespace

GgufWriter TinyModel::writer() const {
  if (layers < 1 || heads < 1 || kv_heads < 1 || heads % kv_heads != 0 || head_dim < 2 || head_dim % 2 != 0 ||
      hidden < 1 || intermediate < 1 || vocab < 4 || (experts != 0 && (experts_used < 1 || experts_used > experts)))
    throw std::invalid_argument("this is no shape of a llama");
  GgufWriter w;
  auto count = [&w](const char* key, int value) { w.u32(key, static_cast<uint32_t>(value)); };
  w.text("general.architecture", "llama").text("general.name", "tiny random llama");
  count("llama.block_count", layers);
  count("llama.context_length", context);
  count("llama.embedding_length", hidden);
  count("llama.feed_forward_length", intermediate);
  count("llama.attention.head_count", heads);
  count("llama.attention.head_count_kv", kv_heads);
  count("llama.attention.key_length", head_dim);
  count("llama.attention.value_length", head_dim);
  count("llama.rope.dimension_count", head_dim);
  count("llama.vocab_size", vocab);
  if (experts > 0) count("llama.expert_count", experts), count("llama.expert_used_count", experts_used);
  w.f32("llama.rope.freq_base", 10000).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  add_tokenizer(w, vocab);

  uint64_t stream = 0;
  auto matrix = [&](const std::string& name, int rows, int columns, double gain) {
    float scale = static_cast<float>(gain / std::sqrt(static_cast<double>(columns)));
    // Finer where a group of 16 meets each kind of product: of whole rows, and of the units of heads and of the MLP.
    const bool fine = name.ends_with("attn_v") || name.ends_with("attn_output") || name.ends_with("ffn_down");
    const std::string kind = type != "q4_k_m" ? type : fine ? "q6_k" : "q4_k";
    w.tensor(name + ".weight", {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)}, type_id(kind),
             weights(kind, rows, columns, scale, 0, seed * 1000003 + ++stream));
  };
  // The same of every expert, one behind the other.
  auto matrices = [&](const std::string& name, int rows, int columns) {
    const std::string kind = type == "q4_k_m" ? "q4_k" : type;
    const auto scale = static_cast<float>(1.4 / std::sqrt(static_cast<double>(columns)));
    w.tensor(name + ".weight",
             {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows), static_cast<uint64_t>(experts)},
             type_id(kind), weights(kind, int64_t{experts} * rows, columns, scale, 0, seed * 1000003 + ++stream));
  };
  auto norm = [&](const std::string& name) {
    w.tensor(name + ".weight", {static_cast<uint64_t>(hidden)}, 0,
             weights("f32", 1, hidden, 0.1f, 1, seed * 1000003 + ++stream));
  };
  matrix("token_embd", vocab, hidden, tied ? 2.5 : 1.5);
  for (int layer = 0; layer < layers; layer++) {
    std::string block = "blk." + std::to_string(layer) + ".";
    norm(block + "attn_norm");
    matrix(block + "attn_q", heads * head_dim, hidden, 1.4);
    matrix(block + "attn_k", kv_heads * head_dim, hidden, 1.4);
    matrix(block + "attn_v", kv_heads * head_dim, hidden, 1.2);
    matrix(block + "attn_output", hidden, heads * head_dim, 1.2);
    norm(block + "ffn_norm");
    if (experts > 0) {
      w.tensor(block + "ffn_gate_inp.weight", {static_cast<uint64_t>(hidden), static_cast<uint64_t>(experts)}, 0,
               weights("f32", experts, hidden, 0.2f, 0, seed * 1000003 + ++stream));
      matrices(block + "ffn_gate_exps", intermediate, hidden);
      matrices(block + "ffn_up_exps", intermediate, hidden);
      matrices(block + "ffn_down_exps", hidden, intermediate);
      continue;
    }
    matrix(block + "ffn_gate", intermediate, hidden, 1.4);
    matrix(block + "ffn_up", intermediate, hidden, 1.4);
    matrix(block + "ffn_down", hidden, intermediate, 1.4);
  }
  norm("output_norm");
  if (!tied) matrix("output", vocab, hidden, 2.5);
  return w;
}

}  // namespace trireme::testkit

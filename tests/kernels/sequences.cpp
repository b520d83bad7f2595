#include "sequences.h"

#include <algorithm>
#include <string>

#include "base/math.h"

namespace trireme::testing {

namespace {

double page_value(const KvPages& pages, const std::byte* page, int64_t i) {
  return pages.type == DType::f32 ? reinterpret_cast<const float*>(page)[i]
                                  : to_float(reinterpret_cast<const BF16*>(page)[i]);
}

}  // namespace

std::vector<std::string_view> levels_of(const Model& model) {
  std::vector<std::string_view> levels = available_levels();
  std::erase_if(levels, [&](std::string_view level) {
    return model.bf16_products && level != "reference" && !select_kernels(level).bf16_attention;
  });
  return levels;
}

Sequences make(const Model& model, const std::vector<Length>& lengths, float garbage) {
  int blocks = 0, longest = 0;
  for (Length l : lengths)
    blocks += (l.before + l.now + kBlockTokens - 1) / kBlockTokens, longest = std::max(longest, l.before + l.now);
  const int64_t block_heads = model.kv_heads + 1;  // one that is nobody's
  size_t bytes = static_cast<size_t>(blocks * block_heads * model.head_dim * kBlockTokens * dtype_bytes(model.type));
  Sequences s{model,
              {model.type, nullptr, nullptr, model.kv_heads, model.head_dim, block_heads},
              Guarded(bytes),
              Guarded(bytes),
              {},
              {},
              {},
              {},
              {},
              {},
              0};
  s.pages.k = s.k.data(), s.pages.v = s.v.data();
  for (size_t i = 0; i < bytes / static_cast<size_t>(dtype_bytes(model.type)); i++) {
    BF16 half = to_bf16(garbage);
    for (std::byte* page : {s.pages.k, s.pages.v})
      model.type == DType::f32 ? std::memcpy(page + 4 * i, &garbage, 4) : std::memcpy(page + 2 * i, &half, 2);
  }
  for (int h = 0; h < model.heads; h++) s.kv_head_of.push_back(model.kv_head_of(h));
  int half = model.head_dim / 2;
  for (int p = 0; p < longest; p++)
    for (int i = 0; i < half; i++) {
      double sine = 0, cosine = 0;
      exact_sin_cos(p * exact_pow(10000, -static_cast<double>(i) / half), &sine, &cosine);
      s.sine.push_back(static_cast<float>(sine)), s.cosine.push_back(static_cast<float>(cosine));
    }
  Source source(21);
  Kernels reference = select_kernels("reference");
  for (Length l : lengths) {
    std::vector<int32_t> table, positions;
    std::vector<int64_t> slots;
    int positions_all = l.before + l.now;
    for (int b = 0; b * kBlockTokens < positions_all; b++) table.push_back(--blocks);
    for (int p = 0; p < positions_all; p++)
      positions.push_back(p),
          slots.push_back(int64_t{table[static_cast<size_t>(p / kBlockTokens)]} * kBlockTokens + p % kBlockTokens);
    int64_t columns = int64_t{model.heads} * model.head_dim, kv_columns = int64_t{model.kv_heads} * model.head_dim;
    std::vector<float> q = source.values(static_cast<size_t>(positions_all * columns), 2);
    std::vector<float> k = source.values(static_cast<size_t>(positions_all * kv_columns), 2),
                       v = source.values(k.size());
    reference.rope_append({}, {{q.data(), positions_all, columns},
                               {k.data(), positions_all, kv_columns},
                               {v.data(), positions_all, kv_columns},
                               positions,
                               slots,
                               {s.cosine.data(), s.sine.data(), model.head_dim},
                               s.pages});
    s.q.insert(s.q.end(), q.begin() + l.before * columns, q.end());
    s.tables.push_back(table);
    s.spans.push_back({static_cast<int32_t>(s.rows), l.now, l.before, nullptr});
    s.rows += l.now;
  }
  for (size_t i = 0; i < s.spans.size(); i++) s.spans[i].block_table = s.tables[i].data();
  return s;
}

std::vector<float> attend(const Sequences& s, std::string_view level, int parts, std::span<std::byte> workspace) {
  size_t count = static_cast<size_t>(s.rows * s.model.heads * s.model.head_dim);
  Guarded out(count * 4);
  each_part(parts, [&](Launch launch) {
    launch.workspace = workspace;
    select_kernels(level).attention(launch, s.attention(out.floats()));
  });
  CHECK(out.intact());
  return {out.floats(), out.floats() + count};
}

bool is_reference(const Model& model, std::string_view level, const std::vector<float>& out,
                  const std::vector<float>& reference) {
  if (!model.bf16_products || has_bits_of_reference(level, ActivationForm::bf16))
    return same_floats(out.data(), reference.data(), out.size());
  return std::equal(out.begin(), out.end(), reference.begin(),
                    [](float a, float b) { return std::fabs(a - b) < 0x1p-7; });
}

double exact_output(const Sequences& s, size_t span, int row, int head, int d) {
  const Model& m = s.model;
  int positions = s.spans[span].first_position + row + 1, kv = s.kv_head_of[static_cast<size_t>(head)];
  int first = m.window > 0 ? std::max(0, positions - m.window) : 0;
  const float* q = s.q.data() + ((s.spans[span].first_row + row) * m.heads + head) * m.head_dim;
  double sum = 0, out = 0;
  for (int p = first; p < positions; p++) {
    int64_t tile =
        (s.tables[span][static_cast<size_t>(p / kBlockTokens)] * s.pages.block_heads + kv) * m.head_dim * kBlockTokens;
    double dot = 0;
    for (int i = 0; i < m.head_dim; i++)
      dot += q[i] * page_value(s.pages, s.pages.k, tile + i * kBlockTokens + p % kBlockTokens);
    double score = dot * s.scale();
    if (m.softcap > 0) score = m.softcap * std::tanh(score / m.softcap);
    double weight = std::exp(score);
    sum += weight;
    out += weight * page_value(s.pages, s.pages.v, tile + p % kBlockTokens * m.head_dim + d);
  }
  return out / sum;
}

}  // namespace trireme::testing

#include "model/tensor_table.h"

#include <fmt/format.h>

namespace trireme {

std::vector<TensorSlot> tensor_slots(const ModelConfig& c, const UnitTable& u) {
  int64_t query = int64_t{c.num_heads} * c.head_dim, key = int64_t{c.num_kv_heads} * c.head_dim, hidden = c.hidden_size;
  int64_t query_unit = u.heads_per_unit * c.head_dim;
  std::vector<TensorSlot> slots;
  slots.push_back({"embedding", "token_embd.weight", c.vocab_size, hidden, UnitAxis::rows, u.rows_per_unit});
  for (int layer = 0; layer < c.num_layers; layer++) {
    auto add = [&](const char* name, const char* gguf, int64_t rows, int64_t columns, UnitAxis axis, int64_t unit,
                   int rope_heads = 0) {
      slots.push_back({fmt::format("layers.{}.{}", layer, name), fmt::format("blk.{}.{}.weight", layer, gguf), rows,
                       columns, axis, unit, rope_heads});
    };
    add("attention_norm", "attn_norm", 1, hidden, UnitAxis::none, 0);
    add("attention.q", "attn_q", query, hidden, UnitAxis::rows, query_unit, c.num_heads);
    add("attention.k", "attn_k", key, hidden, UnitAxis::rows, c.head_dim, c.num_kv_heads);
    add("attention.v", "attn_v", key, hidden, UnitAxis::rows, c.head_dim);
    add("attention.o", "attn_output", hidden, query, UnitAxis::columns, query_unit);
    add("mlp_norm", "ffn_norm", 1, hidden, UnitAxis::none, 0);
    add("mlp.gate", "ffn_gate", c.intermediate_size, hidden, UnitAxis::rows, u.columns_per_unit);
    add("mlp.up", "ffn_up", c.intermediate_size, hidden, UnitAxis::rows, u.columns_per_unit);
    add("mlp.down", "ffn_down", hidden, c.intermediate_size, UnitAxis::columns, u.columns_per_unit);
  }
  slots.push_back({"final_norm", "output_norm.weight", 1, hidden, UnitAxis::none, 0});
  if (!c.tie_word_embeddings)
    slots.push_back({"head", "output.weight", c.vocab_size, hidden, UnitAxis::rows, u.rows_per_unit});
  return slots;
}

TensorInfo tensor_info(const TensorSlot& slot, const WeightFormat& format) {
  TensorInfo t;
  t.name = slot.name;
  t.format = format;
  t.rows = t.unit_rows = slot.rows;
  t.columns = t.unit_columns = slot.columns;
  t.axis = slot.axis;
  if (slot.axis == UnitAxis::none) return t;
  int64_t side = slot.axis == UnitAxis::rows ? slot.rows : slot.columns;
  (slot.axis == UnitAxis::rows ? t.unit_rows : t.unit_columns) = slot.unit;
  t.units = static_cast<int>((side + slot.unit - 1) / slot.unit);
  return t;
}

}  // namespace trireme

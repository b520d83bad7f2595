#include "model/tensor_table.h"

#include <fmt/format.h>

namespace trireme {

std::vector<TensorSlot> tensor_slots(const ModelConfig& c, const UnitTable& u) {
  int64_t query = int64_t{c.num_heads} * c.head_dim, key = int64_t{c.num_kv_heads} * c.head_dim, hidden = c.hidden_size;
  int64_t query_unit = u.heads_per_unit * c.head_dim;
  std::vector<TensorSlot> slots;
  auto whole = [](std::string name, int64_t rows) { return std::vector<SourceSlice>{{std::move(name), 0, rows}}; };
  slots.push_back({"embedding", whole("model.embed_tokens.weight", c.vocab_size),
                   whole("token_embd.weight", c.vocab_size), c.vocab_size, hidden, UnitAxis::rows, u.rows_per_unit});
  for (int layer = 0; layer < c.num_layers; layer++) {
    auto add = [&](const char* name, const char* hf, const char* gguf, int64_t rows, int64_t columns, UnitAxis axis,
                   int64_t unit, int rope_heads = 0) {
      slots.push_back(
          {fmt::format("layers.{}.{}", layer, name), whole(fmt::format("model.layers.{}.{}.weight", layer, hf), rows),
           whole(fmt::format("blk.{}.{}.weight", layer, gguf), rows), rows, columns, axis, unit, rope_heads});
    };
    add("attention_norm", "input_layernorm", "attn_norm", 1, hidden, UnitAxis::none, 0);
    add("attention.q", "self_attn.q_proj", "attn_q", query, hidden, UnitAxis::rows, query_unit, c.num_heads);
    add("attention.k", "self_attn.k_proj", "attn_k", key, hidden, UnitAxis::rows, c.head_dim, c.num_kv_heads);
    add("attention.v", "self_attn.v_proj", "attn_v", key, hidden, UnitAxis::rows, c.head_dim);
    add("attention.o", "self_attn.o_proj", "attn_output", hidden, query, UnitAxis::columns, query_unit);
    add("mlp_norm", "post_attention_layernorm", "ffn_norm", 1, hidden, UnitAxis::none, 0);
    add("mlp.gate", "mlp.gate_proj", "ffn_gate", c.intermediate_size, hidden, UnitAxis::rows, u.columns_per_unit);
    add("mlp.up", "mlp.up_proj", "ffn_up", c.intermediate_size, hidden, UnitAxis::rows, u.columns_per_unit);
    add("mlp.down", "mlp.down_proj", "ffn_down", hidden, c.intermediate_size, UnitAxis::columns, u.columns_per_unit);
  }
  slots.push_back(
      {"final_norm", whole("model.norm.weight", 1), whole("output_norm.weight", 1), 1, hidden, UnitAxis::none, 0});
  if (!c.tie_word_embeddings)
    slots.push_back({"head", whole("lm_head.weight", c.vocab_size), whole("output.weight", c.vocab_size), c.vocab_size,
                     hidden, UnitAxis::rows, u.rows_per_unit});
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

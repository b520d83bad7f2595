#include "model/tensor_table.h"

#include <fmt/core.h>

namespace trireme {

namespace {

// What the folders of a family call things; GGUF has one set of names for all.
struct FolderNames {
  const char* attention_norm = "input_layernorm";
  const char* post_attention_norm = "post_attention_layernorm";
  const char* mlp_norm = "post_attention_layernorm";
  const char* post_mlp_norm = "post_feedforward_layernorm";
  bool fused = false;  // q, k, v in one tensor, gate and up in one
  float norm_offset = 0;
  const char* router = "mlp.gate";
  const char *expert_gate = "mlp.experts.{}.gate_proj", *expert_up = "mlp.experts.{}.up_proj",
             *expert_down = "mlp.experts.{}.down_proj";
};

FolderNames folder_names(const std::string& model_type) {
  FolderNames names;
  if (model_type.starts_with("gemma")) names.mlp_norm = "pre_feedforward_layernorm", names.norm_offset = 1;
  if (model_type == "phi3") names.fused = true;
  if (model_type == "mixtral") {
    names.router = "block_sparse_moe.gate";
    names.expert_gate = "block_sparse_moe.experts.{}.w1";
    names.expert_up = "block_sparse_moe.experts.{}.w3";
    names.expert_down = "block_sparse_moe.experts.{}.w2";
  }
  return names;
}

bool gguf_interleaves(const std::string& model_type) {
  for (const char* family : {"llama", "mistral", "mixtral", "smollm3", "granite"})
    if (model_type == family) return true;
  return false;
}

// Collects the slots of one model.
class Table {
 public:
  Table(const ModelConfig& config, const UnitTable& units)
      : c_(config), u_(units), names_(folder_names(config.model_type)) {}

  std::vector<TensorSlot> slots() {
    whole("embedding", "model.embed_tokens.weight", "token_embd.weight", c_.vocab_size, c_.hidden_size, UnitAxis::rows,
          u_.rows_per_unit);
    for (layer_ = 0; layer_ < c_.num_layers; layer_++) {
      if (c_.pre_norm) norm("attention_norm", names_.attention_norm, "attn_norm", c_.hidden_size);
      attention();
      if (c_.post_norm) norm("post_attention_norm", names_.post_attention_norm, "post_attention_norm", c_.hidden_size);
      if (c_.pre_norm) norm("mlp_norm", names_.mlp_norm, "ffn_norm", c_.hidden_size);
      c_.num_experts > 0 ? experts() : mlp();
      if (c_.post_norm) norm("post_mlp_norm", names_.post_mlp_norm, "post_ffw_norm", c_.hidden_size);
    }
    whole("final_norm", "model.norm.weight", "output_norm.weight", 1, c_.hidden_size, UnitAxis::none, 0);
    slots_.back().hf_offset = names_.norm_offset;
    if (!c_.tie_word_embeddings)
      whole("head", "lm_head.weight", "output.weight", c_.vocab_size, c_.hidden_size, UnitAxis::rows, u_.rows_per_unit);
    return std::move(slots_);
  }

 private:
  void whole(std::string name, std::string hf, std::string gguf, int64_t rows, int64_t columns, UnitAxis axis,
             int64_t unit) {
    slots_.push_back(
        {std::move(name), {{std::move(hf), 0, rows}}, {{std::move(gguf), 0, rows}}, rows, columns, axis, unit});
  }
  std::string at(const char* name) const { return fmt::format("layers.{}.{}", layer_, name); }
  std::string hf_at(const std::string& name, const char* kind = "weight") const {
    return fmt::format("model.layers.{}.{}.{}", layer_, name, kind);
  }
  std::string gguf_at(const char* name, const char* kind = "weight") const {
    return fmt::format("blk.{}.{}.{}", layer_, name, kind);
  }

  void norm(const char* name, const std::string& hf, const char* gguf, int64_t width) {
    whole(at(name), hf_at(hf), gguf_at(gguf), 1, width, UnitAxis::none, 0);
    slots_.back().hf_offset = names_.norm_offset;
  }

  // A matrix whose rows units cut, and its bias, cut at the same places.
  void rows(const char* name, const std::string& hf, const char* gguf, int64_t rows, int64_t unit, bool bias,
            int rope_heads = 0) {
    whole(at(name), hf_at(hf), gguf_at(gguf), rows, c_.hidden_size, UnitAxis::rows, unit);
    slots_.back().gguf_rope_heads = rope_heads;
    if (!bias) return;
    whole(at(name) + "_bias", hf_at(hf, "bias"), gguf_at(gguf, "bias"), rows, 1, UnitAxis::rows, unit);
    slots_.back().gguf_rope_heads = rope_heads;
  }

  void columns(const char* name, const std::string& hf, const char* gguf, int64_t columns, int64_t unit, bool bias) {
    whole(at(name), hf_at(hf), gguf_at(gguf), c_.hidden_size, columns, UnitAxis::columns, unit);
    if (bias) whole(at(name) + "_bias", hf_at(hf, "bias"), gguf_at(gguf, "bias"), 1, c_.hidden_size, UnitAxis::none, 0);
  }

  // The last slot is rows [first_row, ...) of a tensor that holds several.
  void fuse(const char* hf, const char* gguf, int64_t first_row, int64_t of_rows) {
    TensorSlot& slot = slots_.back();
    if (names_.fused) slot.hf = {{hf_at(hf), first_row, of_rows}}, slot.gguf = {{gguf_at(gguf), first_row, of_rows}};
  }

  void attention() {
    const int64_t query = int64_t{c_.num_heads} * c_.head_dim, key = int64_t{c_.num_kv_heads} * c_.head_dim;
    const int64_t query_unit = u_.heads_per_unit * c_.head_dim;
    const bool turned = gguf_interleaves(c_.model_type);
    rows("attention.q", "self_attn.q_proj", "attn_q", query, query_unit, c_.qkv_bias, turned ? c_.num_heads : 0);
    fuse("self_attn.qkv_proj", "attn_qkv", 0, query + 2 * key);
    rows("attention.k", "self_attn.k_proj", "attn_k", key, c_.head_dim, c_.qkv_bias, turned ? c_.num_kv_heads : 0);
    fuse("self_attn.qkv_proj", "attn_qkv", query, query + 2 * key);
    rows("attention.v", "self_attn.v_proj", "attn_v", key, c_.head_dim, c_.qkv_bias);
    fuse("self_attn.qkv_proj", "attn_qkv", query + key, query + 2 * key);
    if (c_.qk_norm == QkNorm::head) {
      norm("attention.q_norm", "self_attn.q_norm", "attn_q_norm", c_.head_dim);
      norm("attention.k_norm", "self_attn.k_norm", "attn_k_norm", c_.head_dim);
    } else if (c_.qk_norm == QkNorm::row) {
      whole(at("attention.q_norm"), hf_at("self_attn.q_norm"), gguf_at("attn_q_norm"), query, 1, UnitAxis::rows,
            query_unit);
      whole(at("attention.k_norm"), hf_at("self_attn.k_norm"), gguf_at("attn_k_norm"), key, 1, UnitAxis::rows,
            c_.head_dim);
    }
    columns("attention.o", "self_attn.o_proj", "attn_output", query, query_unit, c_.o_bias);
  }

  void mlp() {
    const int64_t columns_ = c_.intermediate_size, unit = u_.columns_per_unit;
    rows("mlp.gate", "mlp.gate_proj", "ffn_gate", columns_, unit, c_.mlp_bias);
    fuse("mlp.gate_up_proj", "ffn_up", 0, 2 * columns_);
    rows("mlp.up", "mlp.up_proj", "ffn_up", columns_, unit, c_.mlp_bias);
    fuse("mlp.gate_up_proj", "ffn_up", columns_, 2 * columns_);
    columns("mlp.down", "mlp.down_proj", "ffn_down", columns_, unit, c_.mlp_bias);
  }

  // All experts of a layer side by side, each one a unit.
  void experts() {
    const int64_t width = c_.intermediate_size, hidden = c_.hidden_size;
    whole(at("mlp.router"), hf_at(names_.router), gguf_at("ffn_gate_inp"), c_.num_experts, hidden, UnitAxis::none, 0);
    expert("mlp.gate", names_.expert_gate, "ffn_gate_exps", c_.mlp_columns(), hidden, UnitAxis::rows, width);
    expert("mlp.up", names_.expert_up, "ffn_up_exps", c_.mlp_columns(), hidden, UnitAxis::rows, width);
    expert("mlp.down", names_.expert_down, "ffn_down_exps", hidden, c_.mlp_columns(), UnitAxis::columns, hidden);
  }

  // A folder has a tensor for each expert, a GGUF file one with `rows` rows for each.
  void expert(const char* name, const char* hf, const char* gguf, int64_t slot_rows, int64_t slot_columns,
              UnitAxis axis, int64_t rows) {
    TensorSlot slot{at(name), {}, {}, slot_rows, slot_columns, axis, c_.intermediate_size};
    for (int e = 0; e < c_.num_experts; e++) {
      slot.hf.push_back({hf_at(fmt::format(fmt::runtime(hf), e)), 0, rows});
      slot.gguf.push_back({gguf_at(gguf), e * rows, c_.num_experts * rows});
    }
    slots_.push_back(std::move(slot));
  }

  const ModelConfig& c_;
  const UnitTable& u_;
  FolderNames names_;
  int layer_ = 0;
  std::vector<TensorSlot> slots_;
};

}  // namespace

std::vector<TensorSlot> tensor_slots(const ModelConfig& config, const UnitTable& units) {
  return Table(config, units).slots();
}

bool is_experts(const ModelConfig& config, std::string_view name, UnitAxis axis) {
  return config.num_experts > 0 && axis != UnitAxis::none && name.find(".mlp.") != std::string_view::npos;
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

#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace trireme {

// Found by their argument, so not in the unnamed namespace.
NLOHMANN_JSON_SERIALIZE_ENUM(RopeScaling, {{RopeScaling::none, "none"},
                                           {RopeScaling::linear, "linear"},
                                           {RopeScaling::llama3, "llama3"},
                                           {RopeScaling::yarn, "yarn"},
                                           {RopeScaling::longrope, "longrope"},
                                           {RopeScaling::divisors, "divisors"}})
NLOHMANN_JSON_SERIALIZE_ENUM(QkNorm, {{QkNorm::none, "none"}, {QkNorm::head, "head"}, {QkNorm::row, "row"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Activation, {{Activation::silu, "silu"}, {Activation::gelu_tanh, "gelu_tanh"}})

namespace {

using nlohmann::json;

// Bounds far above any published model; they keep every product of two counts inside 64 bits.
constexpr int64_t kMaxSize = int64_t{1} << 24;  // hidden, intermediate, vocabulary
constexpr int kMaxHeads = 4096;
constexpr int kMaxHeadDim = 512;
constexpr int kMaxExperts = 1024;
constexpr int64_t kMaxContext = int64_t{1} << 28;

[[noreturn]] void refuse(const std::string& source, std::string_view field, const std::string& why) {
  fail(ExitCode::bad_data, "{}: the model's {} {}", source, field, why);
}

// Every field once, for reading and for writing.
template <typename Rope, typename Visit>
void each_rope_field(Rope& r, const Visit& visit) {
  visit("theta", r.theta), visit("rotary", r.rotary), visit("scaling", r.scaling), visit("factor", r.factor);
  visit("attention_factor", r.attention_factor), visit("original_positions", r.original_positions);
  visit("low_freq_factor", r.low_freq_factor), visit("high_freq_factor", r.high_freq_factor);
  visit("beta_fast", r.beta_fast), visit("beta_slow", r.beta_slow), visit("truncate", r.truncate);
  visit("divisors", r.divisors), visit("long_factor", r.long_factor);
}

template <typename Config, typename Visit>
void each_field(Config& c, const Visit& visit) {
  visit("model_type", c.model_type);
  visit("hidden_size", c.hidden_size), visit("intermediate_size", c.intermediate_size);
  visit("num_hidden_layers", c.num_layers), visit("num_attention_heads", c.num_heads);
  visit("num_key_value_heads", c.num_kv_heads), visit("head_dim", c.head_dim), visit("vocab_size", c.vocab_size);
  visit("max_position_embeddings", c.max_positions), visit("rms_norm_eps", c.rms_norm_eps);
  visit("tie_word_embeddings", c.tie_word_embeddings);
  visit("ropes", c.ropes), visit("layer_ropes", c.layer_ropes), visit("layer_windows", c.layer_windows);
  visit("attention_scale", c.attention_scale), visit("attention_softcap", c.attention_softcap);
  visit("qk_norm", c.qk_norm);
  visit("qkv_bias", c.qkv_bias), visit("o_bias", c.o_bias), visit("mlp_bias", c.mlp_bias);
  visit("pre_norm", c.pre_norm), visit("post_norm", c.post_norm), visit("activation", c.activation);
  visit("embedding_multiplier", c.embedding_multiplier), visit("residual_multiplier", c.residual_multiplier);
  visit("logits_scaling", c.logits_scaling), visit("final_softcap", c.final_softcap);
  visit("num_experts", c.num_experts), visit("num_experts_per_tok", c.experts_per_token);
  visit("norm_topk_prob", c.norm_topk_prob);
  visit("bos_token_id", c.bos_token_id), visit("eos_token_ids", c.eos_token_ids), visit("add_bos", c.add_bos);
}

// Typed reads. nlohmann's own conversions take a float for an integer and wrap what does not fit.
template <typename T>
void read(const json& from, T& to, const std::string& source, const char* field) {
  bool good = true;
  if constexpr (std::is_same_v<T, bool>) {
    good = from.is_boolean();
  } else if constexpr (std::is_enum_v<T>) {
    good = from.is_string() && json(from.get<T>()) == from;
  } else if constexpr (std::is_integral_v<T>) {
    good = from.is_number_integer() && !(from.is_number_unsigned() && from.get<uint64_t>() > uint64_t{INT64_MAX}) &&
           std::in_range<T>(from.get<int64_t>());
  } else if constexpr (std::is_floating_point_v<T>) {
    good = from.is_number();
  } else {
    good = from.is_string();
  }
  if (!good) refuse(source, field, "has a value of the wrong kind; convert the model again");
  from.get_to(to);
}
void read(const json& from, RopeConfig& to, const std::string& source, const char* field);
template <typename T>
void read(const json& from, std::vector<T>& to, const std::string& source, const char* field) {
  if (!from.is_array() || from.size() > size_t{kMaxLayers}) refuse(source, field, "is no list of at most 4096 values");
  to.resize(from.size());
  for (size_t i = 0; i < from.size(); i++) read(from[i], to[i], source, field);
}

// Nothing may be ignored in silence: what no field takes is an error.
class Reading {
 public:
  Reading(const json& object, const std::string& source, const char* what) : object_(object), source_(source) {
    if (!object.is_object()) refuse(source, what, "is no JSON object");
  }
  template <typename T>
  void operator()(const char* field, T& to) const {
    known_.insert(field);
    if (auto found = object_.find(field); found != object_.end()) read(*found, to, source_, field);
  }
  void check_rest() const {
    for (const auto& [field, value] : object_.items())
      if (!known_.contains(field))
        refuse(source_, field, "is not known to this version, and ignoring it could change the results");
  }

 private:
  const json& object_;
  const std::string& source_;
  mutable std::set<std::string, std::less<>> known_;
};

void read(const json& from, RopeConfig& to, const std::string& source, const char* field) {
  const Reading reading(from, source, field);
  each_rope_field(to, reading);
  reading.check_rest();
}

json rope_json(const RopeConfig& rope) {
  json object;
  each_rope_field(rope, [&](const char* field, const auto& value) { object[field] = value; });
  return object;
}

void check_rope(const ModelConfig& c, const RopeConfig& r, const std::string& source) {
  auto real = [&](const char* field, double value, double least, double most) {
    if (!(value >= least && value <= most))
      refuse(source, field, fmt::format("is {}; {} to {} are possible", value, least, most));
  };
  real("rope_theta", r.theta, 1, 1e15);
  if (r.rotary < 2 || r.rotary > c.head_dim || r.rotary % 2 != 0)
    refuse(source, "rotary dimension",
           fmt::format("is {}; rotary embeddings turn pairs, at most the {} values of a head", r.rotary, c.head_dim));
  real("rope factor", r.factor, 1e-3, 1e6);
  real("rope attention_factor", r.attention_factor, 1e-3, 1e3);
  if (r.scaling == RopeScaling::llama3 || r.scaling == RopeScaling::yarn || r.scaling == RopeScaling::longrope)
    real("rope original_max_position_embeddings", static_cast<double>(r.original_positions), 1, kMaxContext);
  real("rope low_freq_factor", r.low_freq_factor, 1e-3, 1e6);
  real("rope high_freq_factor", r.high_freq_factor, 1e-3, 1e6);
  if (r.scaling == RopeScaling::llama3 && r.high_freq_factor <= r.low_freq_factor)
    refuse(source, "rope high_freq_factor", "is not above low_freq_factor");
  real("rope beta_fast", r.beta_fast, 1e-3, 1e6);
  real("rope beta_slow", r.beta_slow, 1e-3, 1e6);
  auto factors = [&](const char* field, const std::vector<double>& values, bool wanted) {
    if (values.size() != (wanted ? static_cast<size_t>(r.rotary) / 2 : 0))
      refuse(
          source, field,
          fmt::format("lists {} values, one for each of {} pairs is needed", values.size(), wanted ? r.rotary / 2 : 0));
    for (double v : values) real(field, v, 1e-6, 1e9);
  };
  factors("rope short_factor", r.divisors, r.scaling == RopeScaling::longrope || r.scaling == RopeScaling::divisors);
  factors("rope long_factor", r.long_factor, r.scaling == RopeScaling::longrope);
}

void check_layers(const ModelConfig& c, const std::string& source) {
  const size_t layers = static_cast<size_t>(c.num_layers);
  if (c.ropes.empty() || c.ropes.size() > 2)
    refuse(source, "ropes", "must be one or two sets of frequencies; convert the model again");
  for (const RopeConfig& rope : c.ropes) {
    check_rope(c, rope, source);
    if (rope.scaling == RopeScaling::longrope && c.ropes.size() > 1)
      refuse(source, "rope scaling", "is longrope beside another set of frequencies, which no known model has");
  }
  if (c.layer_ropes.size() != layers || c.layer_windows.size() != layers)
    refuse(source, "list of layers",
           fmt::format("has {} and {} entries for {} layers", c.layer_ropes.size(), c.layer_windows.size(), layers));
  for (int rope : c.layer_ropes)
    if (rope < -1 || rope >= std::ssize(c.ropes)) refuse(source, "layer_ropes", fmt::format("names set {}", rope));
  for (int64_t window : c.layer_windows)
    if (window < 0 || window > kMaxContext)
      refuse(source, "sliding_window", fmt::format("is {}; 1 to {} are possible", window, kMaxContext));
}

void check_tokens(const ModelConfig& c, const std::string& source) {
  auto token = [&](std::string_view field, int32_t id) {
    if (id < -1 || id >= c.vocab_size)
      refuse(source, field, fmt::format("is {}, outside the vocabulary of {}", id, c.vocab_size));
  };
  token("bos_token_id", c.bos_token_id);
  if (c.add_bos && c.bos_token_id < 0) refuse(source, "add_bos_token", "is true, but there is no bos_token_id");
  if (c.eos_token_ids.size() > 64) refuse(source, "eos_token_id", "lists more than 64 tokens");
  for (int32_t id : c.eos_token_ids) token("eos_token_id", id);
}

}  // namespace

ModelConfig ModelConfig::from_json(const json& object, const std::string& source) {
  ModelConfig c;
  const Reading reading(object, source, "config");
  each_field(c, reading);
  reading.check_rest();
  c.check(source);
  return c;
}

json ModelConfig::to_json() const {
  json object;
  each_field(*this, [&](const char* field, const auto& value) {
    if constexpr (std::is_same_v<decltype(value), const std::vector<RopeConfig>&>) {
      object[field] = json::array();
      for (const RopeConfig& rope : value) object[field].push_back(rope_json(rope));
    } else {
      object[field] = value;
    }
  });
  return object;
}

int64_t ModelConfig::long_rope_from() const {
  return ropes[0].scaling == RopeScaling::longrope ? ropes[0].original_positions : 0;
}

void ModelConfig::check(const std::string& source) const {
  auto range = [&source](std::string_view field, int64_t value, int64_t most, int64_t least = 1) {
    if (value < least || value > most)
      refuse(source, field, fmt::format("is {}; {} to {} are possible", value, least, most));
  };
  auto real = [&source](std::string_view field, double value, double above, double most) {
    if (!(value > above && value <= most))
      refuse(source, field, fmt::format("is {}; above {} to {} is possible", value, above, most));
  };
  range("hidden_size", hidden_size, kMaxSize);
  range("intermediate_size", intermediate_size, kMaxSize);
  range("num_hidden_layers", num_layers, kMaxLayers);
  range("num_attention_heads", num_heads, kMaxHeads);
  range("num_key_value_heads", num_kv_heads, num_heads);
  range("head_dim", head_dim, kMaxHeadDim);
  range("vocab_size", vocab_size, kMaxSize);
  range("max_position_embeddings", max_positions, kMaxContext);
  if (num_heads % num_kv_heads != 0)
    refuse(source, "num_attention_heads",
           fmt::format("is {}, not a multiple of the {} key-value heads", num_heads, num_kv_heads));
  if (head_dim % 2 != 0) refuse(source, "head_dim", fmt::format("is {}, but rotary embeddings turn pairs", head_dim));
  real("rms_norm_eps", rms_norm_eps, 0, 0.999);
  check_layers(*this, source);
  if (attention_scale != 0) real("attention scale", attention_scale, 0, 1e6);
  if (attention_softcap != 0) real("attn_logit_softcapping", attention_softcap, 0, 1e6);
  if (final_softcap != 0) real("final_logit_softcapping", final_softcap, 0, 1e6);
  real("embedding_multiplier", embedding_multiplier, 0, 1e6);
  real("residual_multiplier", residual_multiplier, 0, 1e6);
  real("logits_scaling", logits_scaling, 0, 1e6);
  if (!pre_norm && !post_norm) refuse(source, "norms", "are neither before nor after a layer's parts");
  range("num_experts", num_experts, kMaxExperts, 0);
  if (num_experts > 0) {
    range("num_experts_per_tok", experts_per_token, num_experts);
    if (mlp_bias) refuse(source, "mlp_bias", "is true beside experts, which no known model has");
  }
  check_tokens(*this, source);
}

}  // namespace trireme

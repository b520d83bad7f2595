#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace trireme {

namespace {

using nlohmann::json;

// Bounds far above any published model; they keep every product of two counts inside 64 bits.
constexpr int64_t kMaxSize = int64_t{1} << 24;  // hidden, intermediate, vocabulary
constexpr int kMaxLayers = 4096;
constexpr int kMaxHeads = 4096;
constexpr int kMaxHeadDim = 512;
constexpr int64_t kMaxContext = int64_t{1} << 28;

[[noreturn]] void refuse(const std::string& source, std::string_view field, const std::string& why) {
  fail(ExitCode::bad_data, "{}: the model's {} {}", source, field, why);
}

// Fields that change nothing here: training, storage and bookkeeping of other programs.
constexpr std::string_view kWithoutEffect[] = {
    "_name_or_path",          "architectures",        "attention_dropout", "dtype",          "hidden_dropout",
    "initializer_range",      "is_llama_config",      "pad_token_id",      "pretraining_tp", "torch_dtype",
    "transformers.js_config", "transformers_version", "use_cache",         "unk_token_id"};

// Features that exist elsewhere and not here: the one value each that asks for nothing.
struct Neutral {
  std::string_view field;
  json value;
};
const std::vector<Neutral>& neutral_values() {
  static const std::vector<Neutral> values = {
      {"hidden_act", "silu"},         {"attention_bias", false},       {"mlp_bias", false},
      {"rope_interleaved", false},    {"sliding_window", nullptr},     {"use_sliding_window", false},
      {"partial_rotary_factor", 1.0}, {"quantization_config", nullptr}};
  return values;
}

// One config object: typed reads, and what was not read in the end.
class Reader {
 public:
  Reader(const json& object, const std::string& source) : object_(object), source_(source) {
    if (!object.is_object()) refuse(source, "config", "is no JSON object");
  }

  const json* find(const char* field) {
    known_.push_back(field);
    auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  int64_t integer(const char* field, int64_t otherwise) {
    const json* v = find(field);
    return v ? integer_of(*v, field) : otherwise;
  }
  int64_t integer(const char* field) {
    const json* v = find(field);
    if (!v) refuse(source_, field, "is missing");
    return integer_of(*v, field);
  }
  int count(const char* field, int64_t otherwise) {
    int64_t v = integer(field, otherwise);
    if (v < 0 || v > std::numeric_limits<int>::max()) refuse(source_, field, fmt::format("is {}", v));
    return static_cast<int>(v);
  }
  int count(const char* field) {
    if (!find(field)) refuse(source_, field, "is missing");
    return count(field, 0);
  }
  double real(const char* field, double otherwise) {
    const json* v = find(field);
    if (v && !v->is_number()) refuse(source_, field, "is no number");
    return v ? v->get<double>() : otherwise;
  }
  bool boolean(const char* field, bool otherwise) {
    const json* v = find(field);
    if (v && !v->is_boolean()) refuse(source_, field, "is no boolean");
    return v ? v->get<bool>() : otherwise;
  }
  int32_t token(const json& v, const char* field) const {
    int64_t id = integer_of(v, field);
    if (id < -1 || id > kMaxSize) refuse(source_, field, fmt::format("is {}, no token id", id));
    return static_cast<int32_t>(id);
  }
  // Nothing may be ignored in silence: a field that we neither use nor know to be harmless is an error.
  void check_rest() const {
    for (const auto& [field, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), field) != known_.end()) continue;
      if (std::find(std::begin(kWithoutEffect), std::end(kWithoutEffect), field) != std::end(kWithoutEffect)) continue;
      auto neutral = std::find_if(neutral_values().begin(), neutral_values().end(),
                                  [&f = field](const Neutral& n) { return n.field == f; });
      if (neutral == neutral_values().end())
        refuse(source_, field, "is not known to this version, and ignoring it could change the results");
      if (!value.is_null() && value != neutral->value)
        refuse(source_, field,
               fmt::format("is {}; this version supports {} only", value.dump().substr(0, 60), neutral->value.dump()));
    }
  }

 private:
  int64_t integer_of(const json& v, const char* field) const {
    bool fits = v.is_number_unsigned() ? v.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                                       : v.is_number_integer();
    if (!fits)
      refuse(source_, field,
             fmt::format("is {}, no integer", v.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60)));
    return v.get<int64_t>();
  }

  const json& object_;
  const std::string& source_;
  std::vector<std::string> known_;
};

// rope_theta in the old style, or rope_parameters { rope_theta, rope_type } in the new one; no scaling yet.
double rope_theta(Reader& in, const std::string& source) {
  double theta = in.real("rope_theta", 10000);
  for (const char* field : {"rope_parameters", "rope_scaling"}) {
    const json* v = in.find(field);
    if (!v) continue;
    Reader rope(*v, source);
    for (const char* name : {"rope_type", "type"})
      if (const json* type = rope.find(name); type && *type != "default")
        refuse(source, field,
               fmt::format("asks for scaling {}; this version supports default only",
                           type->dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60)));
    theta = rope.real("rope_theta", theta);
    rope.check_rest();
  }
  return theta;
}

}  // namespace

ModelConfig ModelConfig::from_json(const json& object, const std::string& source) {
  Reader in(object, source);
  ModelConfig c;
  const json* type = in.find("model_type");
  if (!type || !type->is_string()) refuse(source, "model_type", "is missing");
  c.model_type = type->get<std::string>();
  c.hidden_size = in.integer("hidden_size");
  c.intermediate_size = in.integer("intermediate_size");
  c.num_layers = in.count("num_hidden_layers");
  c.num_heads = in.count("num_attention_heads");
  c.num_kv_heads = in.count("num_key_value_heads", c.num_heads);
  c.head_dim = in.count("head_dim", c.num_heads > 0 && c.hidden_size > 0 ? c.hidden_size / c.num_heads : 0);
  c.vocab_size = in.integer("vocab_size");
  c.max_positions = in.integer("max_position_embeddings");
  c.rope_theta = trireme::rope_theta(in, source);
  c.rms_norm_eps = in.real("rms_norm_eps", 1e-6);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings", false);
  c.add_bos = in.boolean("add_bos_token", false);
  if (const json* bos = in.find("bos_token_id")) c.bos_token_id = in.token(*bos, "bos_token_id");
  if (const json* eos = in.find("eos_token_id")) {
    for (const json& id : eos->is_array() ? *eos : json::array({*eos}))
      c.eos_token_ids.push_back(in.token(id, "eos_token_id"));
  }
  in.check_rest();
  c.check(source);
  return c;
}

json ModelConfig::to_json() const {
  json object = {{"model_type", model_type},
                 {"hidden_size", hidden_size},
                 {"intermediate_size", intermediate_size},
                 {"num_hidden_layers", num_layers},
                 {"num_attention_heads", num_heads},
                 {"num_key_value_heads", num_kv_heads},
                 {"head_dim", head_dim},
                 {"vocab_size", vocab_size},
                 {"max_position_embeddings", max_positions},
                 {"rope_theta", rope_theta},
                 {"rms_norm_eps", rms_norm_eps},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", tie_word_embeddings},
                 {"add_bos_token", add_bos},
                 {"eos_token_id", eos_token_ids}};
  if (bos_token_id >= 0) object["bos_token_id"] = bos_token_id;
  return object;
}

void ModelConfig::check(const std::string& source) const {
  auto range = [&source](std::string_view field, int64_t value, int64_t most) {
    if (value < 1 || value > most) refuse(source, field, fmt::format("is {}; 1 to {} are possible", value, most));
  };
  if (model_type != "llama") refuse(source, "model_type", fmt::format("is {}; this version runs: llama", model_type));
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
  if (!(rope_theta >= 1 && rope_theta <= 1e15))
    refuse(source, "rope_theta", fmt::format("is {}; 1 to 1e15 are possible", rope_theta));
  if (!(rms_norm_eps > 0 && rms_norm_eps < 1))
    refuse(source, "rms_norm_eps", fmt::format("is {}; above 0 and below 1 is possible", rms_norm_eps));
  auto token = [&](std::string_view field, int32_t id) {
    if (id < -1 || id >= vocab_size)
      refuse(source, field, fmt::format("is {}, outside the vocabulary of {}", id, vocab_size));
  };
  token("bos_token_id", bos_token_id);
  if (add_bos && bos_token_id < 0) refuse(source, "add_bos_token", "is true, but there is no bos_token_id");
  if (eos_token_ids.size() > 64) refuse(source, "eos_token_id", "lists more than 64 tokens");
  for (int32_t id : eos_token_ids) token("eos_token_id", id);
}

}  // namespace trireme

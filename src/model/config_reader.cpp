#include "model/config_reader.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"

namespace trireme {

using nlohmann::json;

namespace {

constexpr size_t kMaxList = 4096;  // layers, or pairs of a head

// Fields that change nothing here: training, storage and bookkeeping of other programs.
constexpr std::string_view kWithoutEffect[] = {"_attn_implementation",
                                               "_attn_implementation_autoset",
                                               "_attn_implementation_internal",
                                               "_model_name_or_path",
                                               "_name_or_path",
                                               "architectures",
                                               "attention_dropout",
                                               "attn_implementation",
                                               "auto_map",
                                               "cache_implementation",
                                               "dtype",
                                               "embd_pdrop",
                                               "hidden_dropout",
                                               "initializer_range",
                                               "is_decoder",
                                               "is_llama_config",
                                               "max_length",
                                               "model_max_length",
                                               "output_attentions",
                                               "output_hidden_states",
                                               "output_router_logits",
                                               "pad_token_id",
                                               "pretraining_tp",
                                               "resid_pdrop",
                                               "return_dict",
                                               "return_dict_in_generate",
                                               "router_aux_loss_coef",
                                               "router_jitter_noise",
                                               "sep_token_id",
                                               "tokenizer_class",
                                               "torch_dtype",
                                               "transformers.js_config",
                                               "transformers_version",
                                               "unk_token_id",
                                               "unsloth_fixed",
                                               "unsloth_version",
                                               "use_cache"};

std::string shown(const json& value) { return value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60); }

}  // namespace

ConfigReader::ConfigReader(const json& object, const std::string& source, const std::string& prefix)
    : object_(object), source_(source), prefix_(prefix) {
  if (!object.is_object())
    fail(ExitCode::bad_data, "{}: the model's {} is no JSON object", source,
         prefix.empty() ? "config" : prefix.substr(0, prefix.size() - 1));
}

void ConfigReader::refuse(const char* field, const std::string& why) const {
  fail(ExitCode::bad_data, "{}: the model's {}{} {}", source_, prefix_, field, why);
}

const json* ConfigReader::find(const char* field) {
  known_.push_back(field);
  auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

int64_t ConfigReader::integer_of(const json& v, const char* field) const {
  bool fits = v.is_number_unsigned() ? v.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                                     : v.is_number_integer();
  if (!fits) refuse(field, fmt::format("is {}, no integer", shown(v)));
  return v.get<int64_t>();
}

int64_t ConfigReader::integer(const char* field, int64_t otherwise) {
  const json* v = find(field);
  return v ? integer_of(*v, field) : otherwise;
}

int64_t ConfigReader::integer(const char* field) {
  const json* v = find(field);
  if (!v) refuse(field, "is missing");
  return integer_of(*v, field);
}

int ConfigReader::count(const char* field, int64_t otherwise) {
  int64_t v = integer(field, otherwise);
  if (v < 0 || v > std::numeric_limits<int>::max()) refuse(field, fmt::format("is {}", v));
  return static_cast<int>(v);
}

int ConfigReader::count(const char* field) {
  if (!find(field)) refuse(field, "is missing");
  return count(field, 0);
}

double ConfigReader::real(const char* field, double otherwise) { return find_real(field).value_or(otherwise); }

std::optional<double> ConfigReader::find_real(const char* field) {
  const json* v = find(field);
  if (!v) return std::nullopt;
  if (!v->is_number()) refuse(field, "is no number");
  return v->get<double>();
}

bool ConfigReader::boolean(const char* field, bool otherwise) {
  const json* v = find(field);
  if (v && !v->is_boolean()) refuse(field, "is no boolean");
  return v ? v->get<bool>() : otherwise;
}

std::string ConfigReader::text(const char* field, const std::string& otherwise) {
  const json* v = find(field);
  if (v && !v->is_string()) refuse(field, "is no text");
  return v ? v->get<std::string>() : otherwise;
}

const json* ConfigReader::find_list(const char* field) {
  const json* v = find(field);
  if (v && (!v->is_array() || v->size() > kMaxList)) refuse(field, "is no list of at most 4096 values");
  return v;
}

std::vector<double> ConfigReader::reals(const char* field) {
  std::vector<double> values;
  if (const json* list = find_list(field))
    for (const json& v : *list) {
      if (!v.is_number()) refuse(field, "lists something that is no number");
      values.push_back(v.get<double>());
    }
  return values;
}

std::vector<int64_t> ConfigReader::integers(const char* field) {
  std::vector<int64_t> values;
  if (const json* list = find_list(field))
    for (const json& v : *list) values.push_back(integer_of(v, field));
  return values;
}

std::vector<std::string> ConfigReader::texts(const char* field) {
  std::vector<std::string> values;
  if (const json* list = find_list(field))
    for (const json& v : *list) {
      if (!v.is_string()) refuse(field, "lists something that is no text");
      values.push_back(v.get<std::string>());
    }
  return values;
}

ConfigReader ConfigReader::nested(const char* field) {
  const json* v = find(field);
  if (!v) refuse(field, "is missing");
  return ConfigReader(*v, source_, fmt::format("{}{}.", prefix_, field));
}

int32_t ConfigReader::token(const json& v, const char* field) const {
  int64_t id = integer_of(v, field);
  if (id < -1 || id > (int64_t{1} << 24)) refuse(field, fmt::format("is {}, no token id", id));
  return static_cast<int32_t>(id);
}

void ConfigReader::only(const char* field, const json& neutral) {
  if (const json* v = find(field); v && *v != neutral)
    refuse(field, fmt::format("is {}; this version supports {} only", shown(*v), neutral.dump()));
}

void ConfigReader::check_rest() const {
  for (const auto& [field, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), field) != known_.end()) continue;
    if (std::find(std::begin(kWithoutEffect), std::end(kWithoutEffect), field) != std::end(kWithoutEffect)) continue;
    if (!value.is_null())
      refuse(field.c_str(), "is not known to this version, and ignoring it could change the results");
  }
}

}  // namespace trireme

#include "job/row_fields.h"

#include <fmt/format.h>

#include <limits>

#include "engine/stop_texts.h"
#include "job/json_values.h"
#include "job/messages.h"

namespace trireme {

namespace ondemand = simdjson::ondemand;
using ondemand::json_type;
using ondemand::value;

namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr float kMaxTemperature = 100;

void read_id(value& v, std::string_view name, Document& document) {
  constexpr std::string_view expected = "a string or an integer of 64 bits";
  json_type type = v.type();
  if (type == json_type::string) {
    document.header.id = {false, read_string(v, name)};
  } else if (type == json_type::number && raw_json(v).starts_with('-')) {
    constexpr int64_t low = std::numeric_limits<int64_t>::min();
    document.header.id = {true, fmt::to_string(read_number<int64_t>(v, name, low, 0, expected))};
  } else {
    constexpr uint64_t high = std::numeric_limits<uint64_t>::max();
    document.header.id = {true, fmt::to_string(read_number<uint64_t>(v, name, 0, high, expected))};
  }
}

void read_text(value& v, std::string_view name, Document& document) {
  document.kind = ContentKind::text;
  document.content = read_string(v, name);
}

void read_prompt(value& v, std::string_view name, Document& document) {
  document.kind = ContentKind::prompt;
  document.content = read_string(v, name);
}

void read_conversation(value& v, std::string_view name, Document& document) {
  document.kind = ContentKind::messages;
  document.content = read_messages(v, name, MessageRules::own);
}

void read_token_ids(value& v, std::string_view name, Document& document) {
  document.kind = ContentKind::token_ids;
  if (v.type() != json_type::array) refuse_value(name, "an array of integers", v);
  for (value item : v.get_array()) {
    constexpr int64_t low = std::numeric_limits<int64_t>::min(), high = std::numeric_limits<int64_t>::max();
    int64_t id = read_number<int64_t>(item, "a token id", low, high, "an integer");
    if (id < 0 || id > kMaxInt32)
      throw RowFault{"bad_token", fmt::format("token id {} is outside every vocabulary", id)};
    document.token_ids.push_back(static_cast<int32_t>(id));
  }
}

void read_max_tokens(value& v, std::string_view name, Document& document) {
  document.sampling.max_tokens = read_number<int64_t>(v, name, 0, kMaxInt32, "an integer from 0 to 2147483647");
}

void read_temperature(value& v, std::string_view name, Document& document) {
  document.sampling.temperature = read_number<float>(v, name, 0, kMaxTemperature, "a number from 0 to 100");
}

void read_top_p(value& v, std::string_view name, Document& document) {
  constexpr float least = std::numeric_limits<float>::denorm_min();
  document.sampling.top_p = read_number<float>(v, name, least, 1, "a number above 0, at most 1");
}

void read_top_k(value& v, std::string_view name, Document& document) {
  document.sampling.top_k = read_number<int32_t>(v, name, 0, kMaxInt32, "an integer from 0 (off) to 2147483647");
}

void read_seed(value& v, std::string_view name, Document& document) {
  constexpr uint64_t high = std::numeric_limits<uint64_t>::max();
  document.sampling.seed = read_number<uint64_t>(v, name, 0, high, "an integer from 0 to 2^64 - 1");
}

void read_stop(value& v, std::string_view name, Document& document) {
  std::vector<std::string> stops;
  auto add = [&](value& item) {
    stops.push_back(read_string(item, name));
    if (std::string fault = stop_fault(stops.size(), stops.back()); !fault.empty())
      throw RowFault{"bad_field", std::move(fault)};
  };
  if (v.type() == json_type::array)
    for (value item : v.get_array()) add(item);
  else if (v.type() == json_type::string)
    add(v);
  else
    refuse_value(name, "a string or an array of strings", v);
  document.sampling.stop = std::move(stops);
}

void read_ignore_eos(value& v, std::string_view name, Document& document) {
  document.sampling.ignore_eos = read_flag(v, name);
}

constexpr RowField kFields[] = {
    {"id", read_id, false},
    {"text", read_text, true},
    {"prompt", read_prompt, true},
    {"messages", read_conversation, true},
    {"token_ids", read_token_ids, true},
    {"max_tokens", read_max_tokens, false},
    {"temperature", read_temperature, false},
    {"top_p", read_top_p, false},
    {"top_k", read_top_k, false},
    {"seed", read_seed, false},
    {"stop", read_stop, false},
    {"ignore_eos", read_ignore_eos, false},
};

}  // namespace

const RowField* find_row_field(std::string_view name) {
  for (const RowField& field : kFields)
    if (field.name == name) return &field;
  return nullptr;
}

}  // namespace trireme

#include "job/messages.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "job/json_values.h"

namespace trireme {

namespace ondemand = simdjson::ondemand;
using ondemand::json_type;
using ondemand::value;

namespace {

void check_part(value& part) {
  if (part.type() != json_type::object) refuse_value("a part of a message's content", "an object", part);
  bool has_type = false, has_text = false;
  for (auto result : part.get_object()) {
    ondemand::field field = std::move(result);
    std::string key(std::string_view(field.unescaped_key()));
    value& member = field.value();
    if (key == "type") {
      has_type = true;
      std::string type = read_string(member, "type of a content part");
      if (type != "text")
        throw RowFault{"unsupported",
                       fmt::format("a content part is of type {}; only text is supported", type.substr(0, 40))};
    } else if (key == "text") {
      has_text = true;
      read_string(member, "text of a content part");
    } else {
      throw RowFault{"unsupported", fmt::format("a content part has a field \"{}\"; only type and text are supported",
                                                key.substr(0, 40))};
    }
  }
  if (!has_type || !has_text) throw RowFault{"bad_field", "a content part must have a type and a text"};
}

void check_content(value& content) {
  if (content.type() == json_type::array) {
    size_t parts = 0;
    for (value part : content.get_array()) {
      check_part(part);
      parts++;
    }
    if (parts == 0) throw RowFault{"bad_field", "content of a message must not be an empty array"};
  } else if (content.type() != json_type::string) {
    refuse_value("content of a message", "a string or an array of text parts", content);
  } else {
    read_string(content, "content of a message");
  }
}

// Fields of the batch-request format's messages that mean tools, audio or refusals: nothing when null or empty.
void check_batch_field(std::string_view key, value& member) {
  if (key == "name") {
    read_string(member, "name of a message");
    return;
  }
  constexpr std::string_view may_be_empty[] = {"tool_calls", "function_call", "refusal", "audio", "annotations"};
  bool known = std::find(std::begin(may_be_empty), std::end(may_be_empty), key) != std::end(may_be_empty);
  std::string seen = compact_json(raw_json(member));
  if (known && (seen == "null" || seen == "[]")) return;
  throw RowFault{"unsupported",
                 fmt::format("a message has a field \"{}\"; role, content and name are supported", key.substr(0, 40))};
}

void check_message(value& message, MessageRules rules) {
  if (message.type() != json_type::object) refuse_value("a message", "an object", message);
  bool role = false, content = false;
  for (auto result : message.get_object()) {
    ondemand::field field = std::move(result);
    std::string key(std::string_view(field.unescaped_key()));
    value& member = field.value();
    if (key == "role") {
      role = true;
      if (read_string(member, "role of a message").empty())
        throw RowFault{"bad_field", "role of a message must not be empty"};
    } else if (key == "content") {
      content = true;
      check_content(member);
    } else if (rules == MessageRules::batch_request) {
      check_batch_field(key, member);
    }
  }
  if (!role || !content) throw RowFault{"bad_field", "a message must have a role and a content"};
}

}  // namespace

std::string read_messages(value& v, std::string_view name, MessageRules rules) {
  if (v.type() != json_type::array) refuse_value(name, "an array of messages", v);
  ondemand::array array = v.get_array();
  std::string messages(std::string_view(array.raw_json()));
  array.reset();
  size_t count = 0;
  for (value message : array) {
    check_message(message, rules);
    count++;
  }
  if (count == 0) throw RowFault{"bad_field", fmt::format("{} must not be empty", name)};
  return messages;
}

nlohmann::ordered_json parse_messages(const std::string& json) {
  auto messages = nlohmann::ordered_json::parse(json);
  for (auto& message : messages) {
    auto& content = message["content"];
    if (!content.is_array()) continue;
    std::string text;
    for (size_t i = 0; i < content.size(); i++) {
      if (i > 0) text += '\n';
      text += content[i]["text"].get_ref<const std::string&>();
    }
    content = std::move(text);
  }
  return messages;
}

}  // namespace trireme

#include "job/json_check.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace trireme {

namespace ondemand = simdjson::ondemand;

namespace {

std::string_view trimmed(std::string_view token) { return token.substr(0, token.find_last_not_of(" \t\r\n") + 1); }

// JSON's number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
bool is_number(std::string_view token) {
  size_t i = 0;
  auto at = [&](std::string_view set) { return i < token.size() && set.find(token[i]) != set.npos; };
  auto digits = [&] {
    size_t start = i;
    while (at("0123456789")) i++;
    return i != start;
  };
  if (at("-")) i++;
  if (at("0"))
    i++;
  else if (!digits())
    return false;
  if (at(".") && (i++, !digits())) return false;
  if (at("eE")) {
    i++;
    if (at("+-")) i++;
    if (!digits()) return false;
  }
  return i == token.size();
}

void check_value(ondemand::value value, int depth);

void check_array(ondemand::array array, int depth) {
  if (depth > kMaxJsonDepth) throw RowFault{"bad_json", fmt::format("nested deeper than {}", kMaxJsonDepth)};
  for (ondemand::value item : array) check_value(item, depth + 1);
}

void check_scalar(ondemand::value& value) {
  std::string_view token = trimmed(value.raw_json_token());
  if (token.starts_with('"')) {
    std::string_view text = value.get_string();  // throws for a bad escape or a lone surrogate
    static_cast<void>(text);
  } else if (is_number(token)) {
    // Most readers of our output have doubles and nothing larger.
    if (value.get_double().error())
      throw RowFault{"bad_json", fmt::format("the number {} is too large", token.substr(0, 40))};
  } else if (token != "true" && token != "false" && token != "null") {
    throw RowFault{"bad_json", fmt::format("{} is no JSON value", token.substr(0, 40))};
  }
}

void check_value(ondemand::value value, int depth) {
  ondemand::json_type type = value.type();
  if (type == ondemand::json_type::object)
    check_json(value.get_object(), depth);
  else if (type == ondemand::json_type::array)
    check_array(value.get_array(), depth);
  else
    check_scalar(value);
}

}  // namespace

void check_json(ondemand::object object, int depth) {
  if (depth > kMaxJsonDepth) throw RowFault{"bad_json", fmt::format("nested deeper than {}", kMaxJsonDepth)};
  std::vector<std::string_view> keys;
  for (auto result : object) {
    ondemand::field field = std::move(result);
    keys.push_back(field.unescaped_key());
    check_value(field.value(), depth + 1);
  }
  std::sort(keys.begin(), keys.end());
  auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end())
    throw RowFault{"bad_json", fmt::format("key \"{}\" stands twice in one object", twice->substr(0, 40))};
}

std::string_view raw_json(ondemand::value& value) {
  ondemand::json_type type = value.type();
  if (type == ondemand::json_type::object) return ondemand::object(value.get_object()).raw_json();
  if (type == ondemand::json_type::array) return ondemand::array(value.get_array()).raw_json();
  return trimmed(value.raw_json_token());
}

std::string compact_json(std::string_view json) {
  std::string compact(json.size() + simdjson::SIMDJSON_PADDING, '\0');  // minify writes in whole blocks
  size_t length = 0;
  if (auto error = simdjson::minify(json.data(), json.size(), compact.data(), length))
    throw simdjson::simdjson_error(error);
  compact.resize(length);
  return compact;
}

}  // namespace trireme

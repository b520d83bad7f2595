#pragma once

#include <simdjson.h>

#include <charconv>
#include <string>
#include <string_view>

#include "job/json_check.h"

namespace trireme {

// Values of a row, read and checked by type and range. `name` is the field as messages call it.

// Throws RowFault(bad_field): "NAME must be EXPECTED, not SEEN".
[[noreturn]] void refuse_value(std::string_view name, std::string_view expected, simdjson::ondemand::value& seen);

std::string read_string(simdjson::ondemand::value& value, std::string_view name);
bool read_flag(simdjson::ondemand::value& value, std::string_view name);

// expected: what `low` to `high` is in words.
template <typename Number>
Number read_number(simdjson::ondemand::value& value, std::string_view name, Number low, Number high,
                   std::string_view expected) {
  if (value.type() != simdjson::ondemand::json_type::number) refuse_value(name, expected, value);
  std::string_view token = raw_json(value);
  Number number{};
  auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (error != std::errc{} || end != token.data() + token.size() || number < low || number > high)
    refuse_value(name, expected, value);
  return number;
}

}  // namespace trireme

#include "job/json_values.h"

#include <fmt/core.h>

namespace trireme {

namespace ondemand = simdjson::ondemand;

void refuse_value(std::string_view name, std::string_view expected, ondemand::value& seen) {
  std::string_view text = raw_json(seen);
  throw RowFault{"bad_field", fmt::format("{} must be {}, not {}{}", name, expected, text.substr(0, 40),
                                          text.size() > 40 ? "..." : "")};
}

std::string read_string(ondemand::value& value, std::string_view name) {
  if (value.type() != ondemand::json_type::string) refuse_value(name, "a string", value);
  return std::string(std::string_view(value.get_string()));
}

bool read_flag(ondemand::value& value, std::string_view name) {
  if (value.type() != ondemand::json_type::boolean) refuse_value(name, "true or false", value);
  return bool(value.get_bool());
}

}  // namespace trireme

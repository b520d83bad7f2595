#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

// Why a row is refused while it is read; becomes a RowError.
struct RowFault {
  std::string code;
  std::string message;
  std::string param = {};  // the field, in a batch request
};

// Arrays and objects inside each other, at most: no recursion over a row can go deeper.
inline constexpr int kMaxJsonDepth = 128;

// simdjson's On-Demand looks only at what is asked for. This looks at everything below the object: every key, string,
// number and literal is well-formed, no object has a key twice, nothing is nested too deep. Throws RowFault or
// simdjson_error.
void check_json(simdjson::ondemand::object object, int depth = 1);

// The text of a value, without the space around it. Consumes arrays and objects.
std::string_view raw_json(simdjson::ondemand::value& value);

// The same JSON without space between its tokens (and so without a line end).
std::string compact_json(std::string_view json);

}  // namespace trireme

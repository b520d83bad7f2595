#pragma once

#include <simdjson.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace trireme {

// What a message may hold beside role and content: in our own rows anything, which goes to the template; in a
// batch request only what changes nothing that we do not do (a name, and fields of tools that are null or empty).
enum class MessageRules : uint8_t { own, batch_request };

// Checks an array of messages and returns it as it was written. A content is a string, or an array of parts
// {"type": "text", "text": "..."}. Throws RowFault.
std::string read_messages(simdjson::ondemand::value& value, std::string_view name, MessageRules rules);

// The messages for the template, from what read_messages() returned: the parts of a content are one text, a line end
// between them.
nlohmann::ordered_json parse_messages(const std::string& json);

}  // namespace trireme

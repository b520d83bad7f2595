#pragma once

#include <simdjson.h>

#include <optional>

#include "job/document.h"
#include "job/json_check.h"

namespace trireme {

// A row of the batch-request format:
//   {"custom_id": "a5", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [...], ...}}
// Fills the document (its header must have row, line, byte and the line number as id already) from JSON that
// check_json() has passed. Returns the first fault; what could be read before and after it stands in the document.
// has_id: set when custom_id could be read.
std::optional<RowFault> read_batch_request(simdjson::ondemand::document& json, Document& document, bool& has_id);

}  // namespace trireme

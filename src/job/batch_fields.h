#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "job/document.h"

namespace trireme {

// The body of a batch request while it is read.
struct BatchBody {
  Document& document;
  std::optional<int64_t> max_tokens;
  std::optional<bool> logprobs;         // of a chat
  std::optional<int32_t> top_logprobs;  // likewise
  bool has_content = false;
};

// A field that a body may have: one table says for which url, and how it is read and checked.
struct BatchField {
  std::string_view name;
  uint8_t urls;                                                                              // bits, 1 << RowForm
  void (*read)(simdjson::ondemand::value& value, const BatchField& field, BatchBody& body);  // throws RowFault
  std::string_view only;  // the one value, as compact JSON, that asks for nothing that we do not do
};

// Null: not known for this url, which makes the row an error.
const BatchField* find_batch_field(std::string_view name, RowForm url);

// The rules between fields, once all are read. Throws RowFault.
void finish_batch_body(BatchBody& body);

}  // namespace trireme

#pragma once

#include <simdjson.h>

#include <string_view>

#include "job/document.h"

namespace trireme {

// The fields of a row that mean something to us: one table says how each is read and checked.
struct RowField {
  std::string_view name;
  void (*read)(simdjson::ondemand::value& value, std::string_view name, Document& document);  // throws RowFault
  bool is_content;  // of these a row has exactly one
};

// Null: not ours, carried to the result under "input".
const RowField* find_row_field(std::string_view name);

}  // namespace trireme

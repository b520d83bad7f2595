#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/request.h"
#include "job/document.h"

namespace trireme {

// How results are written, beside what they hold.
struct ResultStyle {
  bool with_token_ids = false;
  // The bytes that a token stands for; batch results spell tokens out in their log-probs.
  std::function<std::string(int32_t)> token_bytes = [](int32_t) { return std::string(); };
  int64_t created = 0;  // the date of batch results, in Unix seconds: the same for every run of a manifest
};

// The output line of a row, without its end, in the form of the row: docs/formats.md has the keys and their order.
// Equal content gives equal bytes. A completion with an error_code makes an error row.
std::string result_line(const RowHeader& header, const Completion& completion, const ResultStyle& style);
std::string error_line(const RowError& error);

}  // namespace trireme

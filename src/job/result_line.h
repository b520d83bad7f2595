#pragma once

#include <string>

#include "engine/request.h"
#include "job/document.h"

namespace trireme {

// The output line of a row, without its end: docs/formats.md has the keys and their order. Equal content gives equal
// bytes. A completion with an error_code makes an error row.
std::string result_line(const RowHeader& header, const Completion& completion, bool with_token_ids);
std::string error_line(const RowError& error);

}  // namespace trireme

#pragma once

#include <string_view>

#include "text/jinja_ast.h"

namespace trireme {

// Throws Error(bad_data) with line and column; what the subset leaves out is named.
JinjaStatement::Body parse_jinja(std::string_view source);

}  // namespace trireme

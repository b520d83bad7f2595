#pragma once

#include <string>
#include <string_view>

namespace trireme {

// Foreign text for a terminal, on one line: what moves the cursor, colours, hides or reorders what stands beside it
// (control characters, line separators, marks of direction, what is no UTF-8) becomes "?", white space a blank.
std::string printable(std::string_view text);

}  // namespace trireme

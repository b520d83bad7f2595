#pragma once

#include "text/jinja_library.h"

namespace trireme {

// Python's two ways to fill a text; every character keeps its origin. Throw JinjaFault.

// pattern % values: %s %r %d %i %x %f and %%, with - and 0, width and precision.
MarkedText percent_format(const MarkedText& pattern, const std::vector<JinjaValue>& values);
// pattern.format(...): {}, {0} and {name}, without conversions and specifications.
MarkedText brace_format(const MarkedText& pattern, const JinjaArguments& arguments);

}  // namespace trireme

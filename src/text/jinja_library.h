#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace trireme {

class JinjaRun;

struct JinjaArguments {
  JinjaValue self = JinjaNone{};  // what a filter, test or method is applied to
  std::vector<JinjaValue> positional;
  std::vector<std::pair<std::string, JinjaValue>> named;  // moved to their positions, unless the function is variadic

  // An argument that was not passed is an undefined value without a name.
  bool has(size_t index) const;
  JinjaValue get(size_t index, JinjaValue absent) const { return has(index) ? positional[index] : std::move(absent); }
  const MarkedText& text(size_t index) const;
  int64_t integer(size_t index, int64_t absent) const;
  bool truth(size_t index, bool absent) const { return has(index) ? is_true(positional[index]) : absent; }
};

// A filter, test, method or function: its parameters after self, of which the first `required` must be passed.
struct JinjaBuiltin {
  using Call = JinjaValue (*)(JinjaRun& run, JinjaArguments& arguments);
  Call call;
  std::vector<std::string_view> parameters;
  size_t required = 0;
  bool variadic = false;  // takes what comes
};

// Null: no such name.
const JinjaBuiltin* find_jinja_filter(std::string_view name);
const JinjaBuiltin* find_jinja_test(std::string_view name);
const JinjaBuiltin* find_jinja_function(std::string_view name);
const JinjaBuiltin* find_jinja_method(const JinjaValue& self, std::string_view name);

// Puts named arguments where they belong and checks their number. Throws JinjaFault.
void bind_arguments(const JinjaBuiltin& builtin, std::string_view name, JinjaArguments& arguments);

}  // namespace trireme

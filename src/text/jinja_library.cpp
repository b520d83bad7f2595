#include "text/jinja_library.h"

#include <algorithm>

namespace trireme {

bool JinjaArguments::has(size_t index) const {
  if (index >= positional.size()) return false;
  const JinjaUndefined* missing = as<JinjaUndefined>(positional[index]);
  return !missing || missing->name;
}

const MarkedText& JinjaArguments::text(size_t index) const {
  const MarkedText* found = index < positional.size() ? as_text(positional[index]) : nullptr;
  if (!found) fault("argument {} must be a text", index + 1);
  return *found;
}

int64_t JinjaArguments::integer(size_t index, int64_t absent) const {
  if (!has(index)) return absent;
  if (const bool* truth = as<bool>(positional[index])) return *truth;
  const int64_t* found = as<int64_t>(positional[index]);
  if (!found) fault("argument {} must be an integer", index + 1);
  return *found;
}

void bind_arguments(const JinjaBuiltin& builtin, std::string_view name, JinjaArguments& arguments) {
  if (builtin.variadic) return;
  const size_t most = builtin.parameters.size();
  if (arguments.positional.size() > most)
    fault("'{}' takes at most {} arguments, not {}", name, most, arguments.positional.size());
  arguments.positional.resize(most);
  for (auto& [key, value] : arguments.named) {
    const auto known = std::find(builtin.parameters.begin(), builtin.parameters.end(), key);
    if (known == builtin.parameters.end()) fault("'{}' has no parameter '{}'", name, key);
    arguments.positional[known - builtin.parameters.begin()] = std::move(value);
  }
  arguments.named.clear();
  for (size_t i = 0; i < builtin.required; ++i)
    if (is_undefined(arguments.positional[i]) && !arguments.has(i))
      fault("'{}' needs its argument '{}'", name, builtin.parameters[i]);
}

}  // namespace trireme

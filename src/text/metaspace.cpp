#include "text/metaspace.h"

#include <map>

#include "text/utf8.h"

namespace trireme {

Metaspace::Metaspace(const JsonField& field) : replacement(field["replacement"].text_or("\u2581")) {
  static const std::map<std::string, Prepend> schemes = {
      {"always", Prepend::always}, {"first", Prepend::first}, {"never", Prepend::never}};
  size_t end = 0;
  if (!replacement.empty()) next_code_point(replacement, end);
  if (replacement.empty() || end != replacement.size()) field["replacement"].damaged(replacement, "one character");
  const JsonField scheme = field["prepend_scheme"];
  const auto found = schemes.find(scheme.text_or("always"));
  if (found == schemes.end()) scheme.damaged(scheme.text(), "always, first or never");
  prepend = field["add_prefix_space"].flag_or(true) ? found->second : Prepend::never;  // as older files say it
  split = field["split"].flag_or(true);
}

}  // namespace trireme


#include <algorithm>
#include <map>
#include <optional>

#include "text/jinja_format.h"
#include "text/jinja_run.h"
#include "text/jinja_text_operations.h"
#include "text/unicode.h"
#include "text/utf8.h"

// The methods of Python's str, list and dict that templates call, and those of `loop`.
namespace trireme {
namespace {

using Arguments = JinjaArguments;
using Methods = std::map<std::string_view, JinjaBuiltin>;

const MarkedText& self_text(const Arguments& a) { return *as_text(a.self); }

std::optional<std::string_view> text_or_none(const Arguments& a, size_t index) {
  if (!a.has(index) || is_none(a.positional[index])) return std::nullopt;
  return a.text(index).text;
}

// ---- str

JinjaValue strip_both(JinjaRun& run, Arguments& a) {
  return run.text(strip(self_text(a), Side::both, text_or_none(a, 0)));
}
JinjaValue strip_left(JinjaRun& run, Arguments& a) {
  return run.text(strip(self_text(a), Side::left, text_or_none(a, 0)));
}
JinjaValue strip_right(JinjaRun& run, Arguments& a) {
  return run.text(strip(self_text(a), Side::right, text_or_none(a, 0)));
}
JinjaValue upper(JinjaRun& run, Arguments& a) { return run.text(uppercase(self_text(a))); }
JinjaValue lower(JinjaRun& run, Arguments& a) { return run.text(lowercase(self_text(a))); }
JinjaValue title(JinjaRun& run, Arguments& a) { return run.text(titlecase(self_text(a), Words::by_letters)); }
JinjaValue capitalize(JinjaRun& run, Arguments& a) { return run.text(titlecase(self_text(a), Words::one)); }
JinjaValue replace_method(JinjaRun& run, Arguments& a) {
  return run.text(replace(self_text(a), a.text(0).text, a.text(1), a.integer(2, -1)));
}

JinjaValue list_of(JinjaRun& run, std::vector<MarkedText> texts) {
  std::vector<JinjaValue> items;
  for (MarkedText& text : texts) items.push_back(run.text(std::move(text)));
  return run.heap().list(std::move(items));
}
JinjaValue split_method(JinjaRun& run, Arguments& a) {
  return list_of(run, split(self_text(a), text_or_none(a, 0), a.integer(1, -1)));
}
JinjaValue rsplit(JinjaRun& run, Arguments& a) {
  const auto separator = text_or_none(a, 0);
  if (!separator) fault("rsplit without a separator is not supported");
  return list_of(run, split_from_right(self_text(a), *separator, a.integer(1, -1)));
}
JinjaValue splitlines(JinjaRun& run, Arguments& a) { return list_of(run, split_lines(self_text(a))); }

JinjaValue join(JinjaRun& run, Arguments& a) {
  MarkedText joined;
  bool at_first = true;
  for (const JinjaValue& item : run.iterate(a.positional[0])) {
    if (!as_text(item)) fault("join needs texts, not a {}", type_name(item));
    if (!at_first) joined.append(self_text(a));
    joined.append(*as_text(item));
    if (joined.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
    at_first = false;
  }
  return run.text(std::move(joined));
}

// One text, or a tuple of which any will do.
bool any_fits(const Arguments& a, bool (*fits)(std::string_view, std::string_view)) {
  const JinjaList* several = as_list(a.positional[0]);
  if (!several) return fits(self_text(a).text, a.text(0).text);
  return std::any_of(several->items.begin(), several->items.end(), [&](const JinjaValue& item) {
    if (!as_text(item)) fault("a text is needed, not a {}", type_name(item));
    return fits(self_text(a).text, as_text(item)->text);
  });
}
JinjaValue startswith(JinjaRun&, Arguments& a) {
  return any_fits(a, [](std::string_view text, std::string_view part) { return text.starts_with(part); });
}
JinjaValue endswith(JinjaRun&, Arguments& a) {
  return any_fits(a, [](std::string_view text, std::string_view part) { return text.ends_with(part); });
}
JinjaValue removeprefix(JinjaRun& run, Arguments& a) {
  const std::string& part = a.text(0).text;
  const size_t size = self_text(a).text.size();
  return run.text(self_text(a).slice(self_text(a).text.starts_with(part) ? part.size() : 0, size));
}
JinjaValue removesuffix(JinjaRun& run, Arguments& a) {
  const std::string& part = a.text(0).text;
  const size_t size = self_text(a).text.size();
  return run.text(self_text(a).slice(0, self_text(a).text.ends_with(part) ? size - part.size() : size));
}

// Positions are counted in characters.
JinjaValue position(const std::string& text, size_t found) {
  if (found == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(code_point_starts(std::string_view(text).substr(0, found)).size() - 1);
}
JinjaValue find(JinjaRun&, Arguments& a) { return position(self_text(a).text, self_text(a).text.find(a.text(0).text)); }
JinjaValue rfind(JinjaRun&, Arguments& a) {
  return position(self_text(a).text, self_text(a).text.rfind(a.text(0).text));
}
JinjaValue index(JinjaRun& run, Arguments& a) {
  const JinjaValue found = find(run, a);
  if (equal(found, int64_t{-1})) fault("the text to look for is not there");
  return found;
}
JinjaValue count(JinjaRun&, Arguments& a) {
  if (a.text(0).text.empty()) return static_cast<int64_t>(code_point_starts(self_text(a).text).size());
  return static_cast<int64_t>(split(self_text(a), a.text(0).text, -1).size() - 1);
}

bool all_characters(const std::string& text, bool (*fits)(char32_t)) {
  for (size_t position = 0; position < text.size();)
    if (!fits(next_code_point(text, position))) return false;
  return !text.empty();
}
JinjaValue isdigit(JinjaRun&, Arguments& a) { return all_characters(self_text(a).text, is_decimal); }
JinjaValue isalpha(JinjaRun&, Arguments& a) { return all_characters(self_text(a).text, is_letter); }
JinjaValue isspace(JinjaRun&, Arguments& a) { return all_characters(self_text(a).text, is_python_space); }
JinjaValue isalnum(JinjaRun&, Arguments& a) {
  return all_characters(self_text(a).text, [](char32_t c) { return is_letter(c) || is_numeric(c); });
}

JinjaValue format(JinjaRun& run, Arguments& a) { return run.text(brace_format(self_text(a), a)); }

// ---- list

JinjaValue list_count(JinjaRun&, Arguments& a) {
  const auto& items = as_list(a.self)->items;
  return int64_t{
      std::count_if(items.begin(), items.end(), [&](const JinjaValue& item) { return equal(item, a.positional[0]); })};
}
JinjaValue list_index(JinjaRun&, Arguments& a) {
  const auto& items = as_list(a.self)->items;
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const JinjaValue& item) { return equal(item, a.positional[0]); });
  if (found == items.end()) fault("the item to look for is not in the list");
  return int64_t{found - items.begin()};
}

// ---- dict

JinjaValue get(JinjaRun& run, Arguments& a) {
  run.spend(as_mapping(a.self)->entries.size());
  for (const auto& [key, value] : as_mapping(a.self)->entries)
    if (equal(key, a.positional[0])) return value;
  return a.get(1, JinjaNone{});
}
JinjaValue items(JinjaRun& run, Arguments& a) {
  return run.apply(*find_jinja_filter("items"), "items", {a.self, {}, {}});
}
JinjaValue keys(JinjaRun& run, Arguments& a) { return run.heap().list(run.iterate(a.self)); }
JinjaValue values(JinjaRun& run, Arguments& a) {
  std::vector<JinjaValue> all;
  for (const auto& [key, value] : as_mapping(a.self)->entries) all.push_back(value);
  run.spend(all.size());
  return run.heap().list(std::move(all));
}

// Names that belong to Python's own types: they hide a key of that name, and calling them changes data or means
// nothing.
JinjaValue refuse(JinjaRun&, Arguments&) { fault("this method is not allowed in a template"); }

// ---- loop

JinjaValue cycle(JinjaRun&, Arguments& a) {
  if (a.positional.empty()) fault("loop.cycle needs values");
  return a.positional[std::get<JinjaLoop*>(a.self)->index % a.positional.size()];
}
JinjaValue changed(JinjaRun& run, Arguments& a) {
  JinjaLoop& loop = *std::get<JinjaLoop*>(a.self);
  const JinjaValue now = run.heap().list(a.positional, true);
  const bool differs = !equal(loop.last_changed, now);
  loop.last_changed = now;
  return differs;
}

const Methods text_methods = {
    {"capitalize", {capitalize, {}}},
    {"count", {count, {"sub"}, 1}},
    {"endswith", {endswith, {"suffix"}, 1}},
    {"find", {find, {"sub"}, 1}},
    {"format", {format, {}, 0, true}},
    {"index", {index, {"sub"}, 1}},
    {"isalnum", {isalnum, {}}},
    {"isalpha", {isalpha, {}}},
    {"isdigit", {isdigit, {}}},
    {"islower", {*find_jinja_test("lower")}},
    {"isspace", {isspace, {}}},
    {"isupper", {*find_jinja_test("upper")}},
    {"join", {join, {"iterable"}, 1}},
    {"lower", {lower, {}}},
    {"lstrip", {strip_left, {"chars"}}},
    {"removeprefix", {removeprefix, {"prefix"}, 1}},
    {"removesuffix", {removesuffix, {"suffix"}, 1}},
    {"replace", {replace_method, {"old", "new", "count"}, 2}},
    {"rfind", {rfind, {"sub"}, 1}},
    {"rsplit", {rsplit, {"sep", "maxsplit"}}},
    {"rstrip", {strip_right, {"chars"}}},
    {"split", {split_method, {"sep", "maxsplit"}}},
    {"splitlines", {splitlines, {}}},
    {"startswith", {startswith, {"prefix"}, 1}},
    {"strip", {strip_both, {"chars"}}},
    {"title", {title, {}}},
    {"upper", {upper, {}}},
};
const Methods list_methods = {
    {"append", {refuse, {}, 0, true}}, {"clear", {refuse, {}, 0, true}},      {"count", {list_count, {"value"}, 1}},
    {"extend", {refuse, {}, 0, true}}, {"index", {list_index, {"value"}, 1}}, {"insert", {refuse, {}, 0, true}},
    {"pop", {refuse, {}, 0, true}},    {"remove", {refuse, {}, 0, true}},     {"reverse", {refuse, {}, 0, true}},
    {"sort", {refuse, {}, 0, true}},
};
const Methods dict_methods = {
    {"clear", {refuse, {}, 0, true}},
    {"copy", {refuse, {}, 0, true}},
    {"fromkeys", {refuse, {}, 0, true}},
    {"get", {get, {"key", "default"}, 1}},
    {"items", {items, {}}},
    {"keys", {keys, {}}},
    {"pop", {refuse, {}, 0, true}},
    {"popitem", {refuse, {}, 0, true}},
    {"setdefault", {refuse, {}, 0, true}},
    {"update", {refuse, {}, 0, true}},
    {"values", {values, {}}},
};
const Methods loop_methods = {{"changed", {changed, {}, 0, true}}, {"cycle", {cycle, {}, 0, true}}};
const Methods no_methods;

const Methods& methods_of(const JinjaValue& self) {
  if (as_text(self)) return text_methods;
  if (as_list(self)) return list_methods;
  if (as_mapping(self)) return dict_methods;
  return as<JinjaLoop*>(self) ? loop_methods : no_methods;
}

}  // namespace

const JinjaBuiltin* find_jinja_method(const JinjaValue& self, std::string_view name) {
  const Methods& methods = methods_of(self);
  const auto found = methods.find(name);
  return found == methods.end() ? nullptr : &found->second;
}

}  // namespace trireme

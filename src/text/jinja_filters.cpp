
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "text/jinja_format.h"
#include "text/jinja_run.h"
#include "text/jinja_text_operations.h"

namespace trireme {
namespace {

using Arguments = JinjaArguments;

MarkedText self_text(const Arguments& arguments) { return to_text(arguments.self); }

JinjaValue undefined_item() { return JinjaUndefined{std::get<JinjaText>(make_text("an item of nothing"))}; }

// ---- texts

JinjaValue trim(JinjaRun& run, Arguments& a) {
  const bool given = a.has(0) && !is_none(a.positional[0]);
  return run.text(
      strip(self_text(a), Side::both, given ? std::optional<std::string_view>(a.text(0).text) : std::nullopt));
}
JinjaValue upper(JinjaRun& run, Arguments& a) { return run.text(uppercase(self_text(a))); }
JinjaValue lower(JinjaRun& run, Arguments& a) { return run.text(lowercase(self_text(a))); }
JinjaValue capitalize(JinjaRun& run, Arguments& a) { return run.text(titlecase(self_text(a), Words::one)); }
JinjaValue title(JinjaRun& run, Arguments& a) { return run.text(titlecase(self_text(a), Words::by_separators)); }
JinjaValue string(JinjaRun& run, Arguments& a) { return run.text(self_text(a)); }

JinjaValue replace_filter(JinjaRun& run, Arguments& a) {
  const MarkedText from = to_text(a.positional[0]), to = to_text(a.positional[1]);
  const int64_t count = a.has(2) && !is_none(a.positional[2]) ? a.integer(2, -1) : -1;
  return run.text(replace(self_text(a), from.text, to, count));
}

JinjaValue format_filter(JinjaRun& run, Arguments& a) {
  if (!a.named.empty()) fault("format with named values is not supported");
  return run.text(percent_format(self_text(a), a.positional));
}

JinjaValue indent(JinjaRun& run, Arguments& a) {
  MarkedText indention;
  if (a.has(0) && as_text(a.positional[0]))
    indention = a.text(0);
  else
    indention.append(std::string(std::clamp<int64_t>(a.integer(0, 4), 0, 1 << 16), ' '), true);
  const bool first = a.truth(1, false), blank = a.truth(2, false);
  MarkedText text = self_text(a), out;
  text.append("\n", true);
  bool at_first = true;
  for (const MarkedText& line : split_lines(text)) {
    if (out.text.size() + line.text.size() + indention.text.size() > max_text_size)
      fault("a text grows past {} bytes", max_text_size);
    if (!at_first) out.append("\n", true);
    if (at_first ? first : blank || !line.text.empty()) out.append(indention);
    out.append(line);
    at_first = false;
  }
  return run.text(std::move(out));
}

JinjaValue tojson(JinjaRun& run, Arguments& a) {
  JsonStyle style;
  style.ensure_ascii = a.truth(0, false);
  if (a.has(1) && !is_none(a.positional[1]))
    style.indent = static_cast<int>(std::clamp<int64_t>(a.integer(1, 0), 0, 100));
  if (style.indent >= 0) style.item_separator = std::string(",");
  if (a.has(2) && !is_none(a.positional[2])) {
    const std::vector<JinjaValue> both = run.iterate(a.positional[2]);
    if (both.size() != 2 || !as_own_text(both[0]) || !as_own_text(both[1]))
      fault("separators are a pair of the template's own texts");
    style.item_separator = as_text(both[0])->text;
    style.key_separator = as_text(both[1])->text;
  }
  style.sort_keys = a.truth(3, false);
  return run.text(to_json(a.self, style));
}

// ---- values

JinjaValue default_filter(JinjaRun&, Arguments& a) {
  const bool missing = is_undefined(a.self) || (a.truth(1, false) && !is_true(a.self));
  return missing ? a.get(0, make_text("")) : a.self;
}

JinjaValue length(JinjaRun& run, Arguments& a) {
  if (const MarkedText* text = as_text(a.self)) {
    run.spend(text->text.size() / 32);
    return static_cast<int64_t>(code_point_starts(text->text).size() - 1);
  }
  if (const JinjaDict* dict = as_mapping(a.self)) return static_cast<int64_t>(dict->entries.size());
  return static_cast<int64_t>(run.iterate(a.self).size());
}

// A number written in a text, as int() and float() read it; underscores between digits are not read.
template <typename Number>
std::optional<Number> parse_number(const JinjaValue& value) {
  const MarkedText all = strip(to_text(value), Side::both, std::nullopt);
  std::string_view text = all.text;
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

JinjaValue to_float(JinjaRun&, Arguments& a) {
  if (const double* real = as<double>(a.self)) return *real;
  if (const int64_t* integer = as<int64_t>(a.self)) return static_cast<double>(*integer);
  if (const bool* truth = as<bool>(a.self)) return *truth ? 1.0 : 0.0;
  if (as_text(a.self))
    if (const auto number = parse_number<double>(a.self)) return *number;
  return a.get(0, 0.0);
}

JinjaValue to_int(JinjaRun& run, Arguments& a) {
  if (a.integer(1, 10) != 10) fault("int with a base is not supported");
  if (const bool* truth = as<bool>(a.self)) return int64_t{*truth};
  if (as<int64_t>(a.self)) return a.self;
  if (as_text(a.self))
    if (const auto number = parse_number<int64_t>(a.self)) return *number;
  const JinjaValue absent = a.get(0, int64_t{0});
  a.positional[0] = JinjaNone{};
  const JinjaValue number = to_float(run, a);
  const double* real = as<double>(number);
  return real && std::fabs(*real) < 9e18 ? JinjaValue(static_cast<int64_t>(*real)) : absent;
}

JinjaValue absolute(JinjaRun&, Arguments& a) {
  const double* real = as<double>(a.self);
  if (real) return std::fabs(*real);
  const JinjaValue negative = jinja_negative(a.self);
  return less(negative, int64_t{0}) ? jinja_negative(negative) : negative;
}

JinjaValue round_filter(JinjaRun& run, Arguments& a) {
  if (!is_number(a.self)) fault("round works on numbers, not on {}", type_name(a.self));
  const JinjaValue value = to_float(run, a);  // argument 0 is only looked at for texts
  const int64_t digits = std::clamp<int64_t>(a.integer(0, 0), -15, 15);
  const std::string method = a.has(1) ? a.text(1).text : "common";
  const double scale = std::pow(10.0, static_cast<double>(digits)), scaled = *as<double>(value) * scale;
  if (method == "ceil") return std::ceil(scaled) / scale;
  if (method == "floor") return std::floor(scaled) / scale;
  return std::nearbyint(scaled) / scale;
}

JinjaValue same(JinjaRun&, Arguments& a) { return a.self; }

// ---- lists

JinjaValue make_list(JinjaRun& run, std::vector<JinjaValue> items) { return run.heap().list(std::move(items)); }

JinjaValue list_filter(JinjaRun& run, Arguments& a) { return make_list(run, run.iterate(a.self)); }

JinjaValue first(JinjaRun& run, Arguments& a) {
  const auto items = run.iterate(a.self);
  return items.empty() ? undefined_item() : items.front();
}

JinjaValue last(JinjaRun& run, Arguments& a) {
  const auto items = run.iterate(a.self);
  return items.empty() ? undefined_item() : items.back();
}

JinjaValue reverse(JinjaRun& run, Arguments& a) {
  if (const MarkedText* text = as_text(a.self)) return run.text(reversed(*text));
  auto items = run.iterate(a.self);
  std::reverse(items.begin(), items.end());
  return make_list(run, std::move(items));
}

JinjaValue items(JinjaRun& run, Arguments& a) {
  const JinjaDict* dict = as_mapping(a.self);
  if (!dict && !is_undefined(a.self)) fault("items works on a dict, not on {}", type_name(a.self));
  std::vector<JinjaValue> pairs;
  if (dict)
    for (const auto& [key, value] : dict->entries) pairs.push_back(run.heap().list({key, value}, true));
  run.spend(pairs.size());
  return make_list(run, std::move(pairs));
}

// item.a.b or item.0, by a path like "a.b"; none: the item itself.
JinjaValue by_path(JinjaRun& run, JinjaValue item, const JinjaValue& path) {
  if (is_none(path) || is_undefined(path)) return item;
  if (!as_text(path)) return run.get_item(item, path);
  for (const MarkedText& part : split(*as_text(path), ".", -1)) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.text.data(), part.text.data() + part.text.size(), index);
    const bool is_index = error == std::errc() && end == part.text.data() + part.text.size() && index >= 0;
    item = run.get_item(item, is_index ? JinjaValue(index) : make_text(part.text));
  }
  return item;
}

JinjaValue join(JinjaRun& run, Arguments& a) {
  const MarkedText separator = to_text(a.get(0, make_text("")));
  MarkedText joined;
  bool at_first = true;
  for (const JinjaValue& item : run.iterate(a.self)) {
    if (!at_first) joined.append(separator);
    joined.append(to_text(by_path(run, item, a.get(1, JinjaNone{}))));
    if (joined.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
    at_first = false;
  }
  return run.text(std::move(joined));
}

// What items are compared by: the value at a path, texts without case unless asked.
JinjaValue sort_key(JinjaRun& run, const JinjaValue& item, const JinjaValue& path, bool case_sensitive) {
  const JinjaValue key = by_path(run, item, path);
  return as_text(key) && !case_sensitive ? run.text(lowercase(*as_text(key))) : key;
}

struct Keyed {
  JinjaValue key;
  JinjaValue item;
};

std::vector<JinjaValue> sorted(JinjaRun& run, std::vector<Keyed> keyed, bool descending) {
  run.spend(keyed.size() * 16);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& x, const Keyed& y) {
    run.spend(1);
    return descending ? less(y.key, x.key) : less(x.key, y.key);
  });
  std::vector<JinjaValue> items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return items;
}

JinjaValue sort(JinjaRun& run, Arguments& a) {
  std::vector<Keyed> keyed;
  for (const JinjaValue& item : run.iterate(a.self)) {
    const JinjaValue path = a.get(2, JinjaNone{});
    if (as_text(path) && as_text(path)->text.find(',') != std::string::npos)
      fault("sort by several attributes is not supported");
    keyed.push_back({sort_key(run, item, path, a.truth(1, false)), item});
  }
  return make_list(run, sorted(run, std::move(keyed), a.truth(0, false)));
}

JinjaValue dictsort(JinjaRun& run, Arguments& a) {
  const bool by_value = a.has(1) && a.text(1).text == "value";
  Arguments pairs{a.self, {}, {}};
  std::vector<Keyed> keyed;
  for (const JinjaValue& pair : run.iterate(items(run, pairs)))
    keyed.push_back({sort_key(run, as_list(pair)->items[by_value], JinjaNone{}, a.truth(0, false)), pair});
  return make_list(run, sorted(run, std::move(keyed), a.truth(2, false)));
}

JinjaValue unique(JinjaRun& run, Arguments& a) {
  std::vector<JinjaValue> keys, kept;
  for (const JinjaValue& item : run.iterate(a.self)) {
    const JinjaValue key = sort_key(run, item, a.get(1, JinjaNone{}), a.truth(0, false));
    run.spend(keys.size());
    if (std::any_of(keys.begin(), keys.end(), [&](const JinjaValue& seen) { return equal(seen, key); })) continue;
    keys.push_back(key);
    kept.push_back(item);
  }
  return make_list(run, std::move(kept));
}

JinjaValue extreme(JinjaRun& run, Arguments& a, bool largest) {
  std::optional<Keyed> best;
  for (const JinjaValue& item : run.iterate(a.self)) {
    const JinjaValue key = sort_key(run, item, a.get(1, JinjaNone{}), a.truth(0, false));
    if (!best || (largest ? less(best->key, key) : less(key, best->key))) best = {key, item};
  }
  return best ? best->item : undefined_item();
}
JinjaValue min(JinjaRun& run, Arguments& a) { return extreme(run, a, false); }
JinjaValue max(JinjaRun& run, Arguments& a) { return extreme(run, a, true); }

JinjaValue sum(JinjaRun& run, Arguments& a) {
  JinjaValue total = a.get(1, int64_t{0});
  for (const JinjaValue& item : run.iterate(a.self))
    total = jinja_binary(run, "+", total, by_path(run, item, a.get(0, JinjaNone{})));
  return total;
}

// map(attribute="a", default=x) or map("filter", arguments...).
JinjaValue map(JinjaRun& run, Arguments& a) {
  if (!is_true(a.self)) return make_list(run, {});  // of whatever type, as in Jinja
  std::vector<JinjaValue> mapped;
  if (a.positional.empty()) {
    JinjaValue path = JinjaNone{}, absent = JinjaUndefined{};
    for (const auto& [name, value] : a.named) {
      if (name != "attribute" && name != "default") fault("map has no parameter '{}'", name);
      (name == "attribute" ? path : absent) = value;
    }
    if (is_none(path)) fault("map needs a filter or attribute");
    for (const JinjaValue& item : run.iterate(a.self)) {
      JinjaValue value = by_path(run, item, path);
      mapped.push_back(is_undefined(value) && !is_undefined(absent) ? absent : value);
    }
    return make_list(run, std::move(mapped));
  }
  const std::string name = a.text(0).text;
  const JinjaBuiltin* filter = find_jinja_filter(name);
  if (!filter) fault("the filter '{}' is not supported", name);
  for (const JinjaValue& item : run.iterate(a.self))
    mapped.push_back(run.apply(*filter, name, {item, {a.positional.begin() + 1, a.positional.end()}, a.named}));
  return make_list(run, std::move(mapped));
}

// Items whose value at a path (with_path) passes a test, or does not (keep false); without a test: is true.
JinjaValue chosen(JinjaRun& run, Arguments& a, bool with_path, bool keep) {
  if (!is_true(a.self)) return make_list(run, {});
  const size_t test_at = with_path;
  if (with_path && a.positional.empty()) fault("an attribute is needed");
  const bool has_test = a.positional.size() > test_at;
  const std::string name = has_test ? a.text(test_at).text : "";
  const JinjaBuiltin* test = has_test ? find_jinja_test(name) : nullptr;
  if (has_test && !test) fault("the test '{}' is not supported", name);
  std::vector<JinjaValue> kept;
  for (const JinjaValue& item : run.iterate(a.self)) {
    const JinjaValue value = with_path ? by_path(run, item, a.positional[0]) : item;
    const bool passes = is_true(
        has_test ? run.apply(*test, name, {value, {a.positional.begin() + test_at + 1, a.positional.end()}, a.named})
                 : value);
    if (passes == keep) kept.push_back(item);
  }
  return make_list(run, std::move(kept));
}
JinjaValue select(JinjaRun& run, Arguments& a) { return chosen(run, a, false, true); }
JinjaValue reject(JinjaRun& run, Arguments& a) { return chosen(run, a, false, false); }
JinjaValue selectattr(JinjaRun& run, Arguments& a) { return chosen(run, a, true, true); }
JinjaValue rejectattr(JinjaRun& run, Arguments& a) { return chosen(run, a, true, false); }

JinjaValue attr(JinjaRun& run, Arguments& a) { return run.get_attribute(a.self, a.text(0).text); }

}  // namespace

const JinjaBuiltin* find_jinja_filter(std::string_view name) {
  static const std::map<std::string_view, JinjaBuiltin> filters = {
      {"abs", {absolute, {}}},
      {"attr", {attr, {"name"}, 1}},
      {"capitalize", {capitalize, {}}},
      {"count", {length, {}}},
      {"d", {default_filter, {"default_value", "boolean"}}},
      {"default", {default_filter, {"default_value", "boolean"}}},
      {"dictsort", {dictsort, {"case_sensitive", "by", "reverse"}}},
      {"first", {first, {}}},
      {"float", {to_float, {"default"}}},
      {"format", {format_filter, {}, 0, true}},
      {"indent", {indent, {"width", "first", "blank"}}},
      {"int", {to_int, {"default", "base"}}},
      {"items", {items, {}}},
      {"join", {join, {"d", "attribute"}}},
      {"last", {last, {}}},
      {"length", {length, {}}},
      {"list", {list_filter, {}}},
      {"lower", {lower, {}}},
      {"map", {map, {}, 0, true}},
      {"max", {max, {"case_sensitive", "attribute"}}},
      {"min", {min, {"case_sensitive", "attribute"}}},
      {"reject", {reject, {}, 0, true}},
      {"rejectattr", {rejectattr, {}, 0, true}},
      {"replace", {replace_filter, {"old", "new", "count"}, 2}},
      {"reverse", {reverse, {}}},
      {"round", {round_filter, {"precision", "method"}}},
      {"safe", {same, {}}},
      {"select", {select, {}, 0, true}},
      {"selectattr", {selectattr, {}, 0, true}},
      {"sort", {sort, {"reverse", "case_sensitive", "attribute"}}},
      {"string", {string, {}}},
      {"sum", {sum, {"attribute", "start"}}},
      {"title", {title, {}}},
      {"tojson", {tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}}},
      {"trim", {trim, {"chars"}}},
      {"unique", {unique, {"case_sensitive", "attribute"}}},
      {"upper", {upper, {}}},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : &found->second;
}

}  // namespace trireme

#include "text/jinja_value.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace trireme {
namespace {

void check_depth(int depth) {
  if (depth > max_data_depth) fault("data is nested more than {} deep", max_data_depth);
}

// Numbers of any type, compared as Python does.
bool both_numbers(const JinjaValue& a, const JinjaValue& b) { return is_number(a) && is_number(b); }

bool is_integral(const JinjaValue& value) { return !std::holds_alternative<double>(value); }

int64_t integer_of(const JinjaValue& value) {
  if (const bool* truth = as<bool>(value)) return *truth;
  return std::get<int64_t>(value);
}

double real_of(const JinjaValue& value) {
  if (const double* real = as<double>(value)) return *real;
  return static_cast<double>(integer_of(value));
}

bool equal_lists(const std::vector<JinjaValue>& a, const std::vector<JinjaValue>& b, int depth) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i], depth + 1)) return false;
  return true;
}

bool equal_dicts(const JinjaDict& a, const JinjaDict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    bool found = false;
    for (const auto& [other_key, other_value] : b.entries)
      found = found || (equal(key, other_key, depth + 1) && equal(value, other_value, depth + 1));
    if (!found) return false;
  }
  return true;
}

}  // namespace

const JinjaValue* JinjaDict::find(std::string_view key) const {
  for (const auto& [entry, value] : entries)
    if (const MarkedText* text = as_text(entry); text && text->text == key) return &value;
  return nullptr;
}

void JinjaDict::set(const JinjaValue& key, JinjaValue value) {
  for (auto& [entry, old] : entries)
    if (equal(entry, key)) {
      old = std::move(value);
      return;
    }
  entries.emplace_back(key, std::move(value));
}

JinjaList* JinjaHeap::list(std::vector<JinjaValue> items, bool is_tuple) {
  return &lists_.emplace_back(JinjaList{std::move(items), is_tuple});
}

JinjaLoop* JinjaHeap::loop(std::vector<JinjaValue> items) {
  return &loops_.emplace_back(JinjaLoop{std::move(items), 0, JinjaUndefined{}});
}

JinjaValue JinjaHeap::from_json(const nlohmann::ordered_json& json, bool trusted, int depth) {
  check_depth(depth);
  const auto text_of = [&](const std::string& string) {
    MarkedText text;
    text.append(string, trusted);
    return make_text(std::move(text));
  };
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) fault("the number {} is too large", json.get<uint64_t>());
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_float:
      return json.get<double>();
    case nlohmann::json::value_t::string:
      return text_of(json.get_ref<const std::string&>());
    case nlohmann::json::value_t::array: {
      JinjaList* result = list();
      for (const auto& item : json) result->items.push_back(from_json(item, trusted, depth + 1));
      return result;
    }
    case nlohmann::json::value_t::object: {
      JinjaDict* result = dict();
      for (const auto& [key, value] : json.items())
        result->entries.emplace_back(text_of(key), from_json(value, trusted, depth + 1));
      return result;
    }
    default:
      return JinjaNone{};
  }
}

JinjaValue make_text(MarkedText text) {
  if (text.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
  return std::make_shared<const MarkedText>(std::move(text));
}

JinjaValue make_text(std::string_view text) {
  MarkedText trusted;
  trusted.append(text, true);
  return make_text(std::move(trusted));
}

const MarkedText* as_text(const JinjaValue& value) {
  const JinjaText* text = as<JinjaText>(value);
  return text ? text->get() : nullptr;
}

const MarkedText* as_own_text(const JinjaValue& value) {
  const MarkedText* text = as_text(value);
  const bool own = text && (text->text.empty() || text->origin(0, text->text.size()) == MarkedText::Origin::trusted);
  return own ? text : nullptr;
}

const JinjaList* as_list(const JinjaValue& value) {
  JinjaList* const* list = as<JinjaList*>(value);
  return list ? *list : nullptr;
}

const JinjaDict* as_mapping(const JinjaValue& value) {
  JinjaDict* const* dict = as<JinjaDict*>(value);
  return dict && !(*dict)->is_namespace ? *dict : nullptr;
}

bool is_undefined(const JinjaValue& value) { return std::holds_alternative<JinjaUndefined>(value); }
bool is_none(const JinjaValue& value) { return std::holds_alternative<JinjaNone>(value); }
bool is_number(const JinjaValue& value) {
  return std::holds_alternative<bool>(value) || std::holds_alternative<int64_t>(value) ||
         std::holds_alternative<double>(value);
}

std::string_view type_name(const JinjaValue& value) {
  if (JinjaDict* const* dict = as<JinjaDict*>(value); dict && (*dict)->is_namespace) return "namespace";
  if (const JinjaList* list = as_list(value); list && list->is_tuple) return "tuple";
  constexpr std::string_view names[] = {"undefined", "None", "bool", "int",      "float",
                                        "str",       "list", "dict", "function", "loop"};
  static_assert(std::size(names) == std::variant_size_v<JinjaValue>);
  return names[value.index()];
}

bool is_true(const JinjaValue& value) {
  if (is_undefined(value) || is_none(value)) return false;
  if (const double* real = as<double>(value)) return *real != 0;
  if (is_number(value)) return integer_of(value) != 0;
  if (const MarkedText* text = as_text(value)) return !text->text.empty();
  if (const JinjaList* list = as_list(value)) return !list->items.empty();
  if (const JinjaDict* dict = as_mapping(value)) return !dict->entries.empty();
  return true;
}

bool equal(const JinjaValue& a, const JinjaValue& b, int depth) {
  check_depth(depth);
  if (both_numbers(a, b))
    return is_integral(a) && is_integral(b) ? integer_of(a) == integer_of(b) : real_of(a) == real_of(b);
  if (a.index() != b.index()) return false;
  if (is_undefined(a) || is_none(a)) return true;
  if (const MarkedText* text = as_text(a)) return text->text == as_text(b)->text;
  if (const JinjaList* list = as_list(a))
    return list->is_tuple == as_list(b)->is_tuple && equal_lists(list->items, as_list(b)->items, depth);
  if (as_mapping(a) && as_mapping(b)) return equal_dicts(*as_mapping(a), *as_mapping(b), depth);
  if (as<JinjaDict*>(a)) return std::get<JinjaDict*>(a) == std::get<JinjaDict*>(b);
  if (as<JinjaFunction*>(a)) return std::get<JinjaFunction*>(a) == std::get<JinjaFunction*>(b);
  return std::get<JinjaLoop*>(a) == std::get<JinjaLoop*>(b);
}

bool less(const JinjaValue& a, const JinjaValue& b, int depth) {
  check_depth(depth);
  if (both_numbers(a, b))
    return is_integral(a) && is_integral(b) ? integer_of(a) < integer_of(b) : real_of(a) < real_of(b);
  if (as_text(a) && as_text(b)) return as_text(a)->text < as_text(b)->text;  // UTF-8 sorts as code points do
  const JinjaList *left = as_list(a), *right = as_list(b);
  if (!left || !right || left->is_tuple != right->is_tuple)
    fault("'<' does not compare {} with {}", type_name(a), type_name(b));
  for (size_t i = 0; i < left->items.size() && i < right->items.size(); ++i)
    if (!equal(left->items[i], right->items[i], depth + 1)) return less(left->items[i], right->items[i], depth + 1);
  return left->items.size() < right->items.size();
}

}  // namespace trireme

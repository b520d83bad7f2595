#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/marked_text.h"

namespace trireme {

struct JinjaList;
struct JinjaDict;
struct JinjaFunction;
struct JinjaLoop;

// Texts never change and hold no other value, so counting references is enough for them. (A decision: everything else
// belongs to the JinjaHeap of the render, because a template can make lists that hold themselves.)
using JinjaText = std::shared_ptr<const MarkedText>;
struct JinjaNone {};
struct JinjaUndefined {
  JinjaText name;  // what was looked for
};

// A value of a template: Python's types as far as JSON data needs them.
using JinjaValue = std::variant<JinjaUndefined, JinjaNone, bool, int64_t, double, JinjaText, JinjaList*, JinjaDict*,
                                JinjaFunction*, JinjaLoop*>;

struct JinjaList {
  std::vector<JinjaValue> items;
  bool is_tuple = false;
};

// Insertion order, keys of any type that compares.
struct JinjaDict {
  std::vector<std::pair<JinjaValue, JinjaValue>> entries;
  bool is_namespace = false;

  const JinjaValue* find(std::string_view key) const;  // null: none
  void set(const JinjaValue& key, JinjaValue value);
};

struct JinjaBuiltin;
struct JinjaStatement;

// A macro of the template, or a function of ours, perhaps bound to the value it is a method of.
struct JinjaFunction {
  const JinjaStatement* macro = nullptr;
  const JinjaBuiltin* builtin = nullptr;
  JinjaValue self = JinjaNone{};
  std::vector<std::pair<std::string_view, JinjaValue>> around = {};  // a macro's: variables of the blocks around it
};

// The variable `loop` of one for statement.
struct JinjaLoop {
  std::vector<JinjaValue> items;
  size_t index = 0;  // of the running iteration
  JinjaValue last_changed = JinjaUndefined{};
};

// Owns everything that can refer to something else, until the render ends.
class JinjaHeap {
 public:
  JinjaList* list(std::vector<JinjaValue> items = {}, bool is_tuple = false);
  JinjaDict* dict() { return &dicts_.emplace_back(); }
  JinjaFunction* function(JinjaFunction function) { return &functions_.emplace_back(std::move(function)); }
  JinjaLoop* loop(std::vector<JinjaValue> items);
  JinjaValue from_json(const nlohmann::ordered_json& json, bool trusted, int depth = 0);

 private:
  std::deque<JinjaList> lists_;
  std::deque<JinjaDict> dicts_;
  std::deque<JinjaFunction> functions_;
  std::deque<JinjaLoop> loops_;
};

JinjaValue make_text(MarkedText text);
JinjaValue make_text(std::string_view text);  // our own words: trusted

template <typename T>
const T* as(const JinjaValue& value) {
  return std::get_if<T>(&value);
}
const MarkedText* as_text(const JinjaValue& value);      // null: no text
const MarkedText* as_own_text(const JinjaValue& value);  // null: no text, or not wholly the template's
const JinjaList* as_list(const JinjaValue& value);       // null: no list
const JinjaDict* as_mapping(const JinjaValue& value);    // null: no dict, a namespace included
bool is_undefined(const JinjaValue& value);
bool is_none(const JinjaValue& value);
bool is_number(const JinjaValue& value);  // Python's: a bool, too

std::string_view type_name(const JinjaValue& value);  // as Python says it, for messages
bool is_true(const JinjaValue& value);

constexpr int max_data_depth = 200;  // of lists and dicts inside each other
constexpr size_t max_text_size = 16 << 20;

bool equal(const JinjaValue& a, const JinjaValue& b, int depth = 0);
// Whether a < b. Throws JinjaTypeError where Python does.
bool less(const JinjaValue& a, const JinjaValue& b, int depth = 0);

MarkedText to_text(const JinjaValue& value);  // str()
MarkedText to_repr(const JinjaValue& value);  // repr()
std::string float_text(double number);        // repr()

struct JsonStyle {
  int indent = -1;  // blanks a level; -1: all on one line
  bool sort_keys = false;
  bool ensure_ascii = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
MarkedText to_json(const JinjaValue& value, const JsonStyle& style);

// What a template did wrong, without its place; JinjaRun adds line and column.
struct JinjaFault {
  std::string text;
};
template <typename... Args>
[[noreturn]] void fault(fmt::format_string<Args...> text, Args&&... args) {
  throw JinjaFault{fmt::format(text, std::forward<Args>(args)...)};
}

}  // namespace trireme

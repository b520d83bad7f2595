#include "text/jinja_run.h"

#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "base/error.h"
#include "text/jinja_text_operations.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t bytes_per_step = 32;  // text is paid for by its size

using Kind = JinjaExpression::Kind;

struct Level {
  int& depth;
  ~Level() { --depth; }
};

constexpr std::string_view special_token_names[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                                    "sep_token", "cls_token", "mask_token"};
constexpr std::string_view well_known_roles[] = {"system", "developer", "user",    "assistant",  "tool",
                                                 "model",  "function",  "ipython", "observation"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void trust_roles(const JinjaValue& messages) {
  const JinjaList* list = as_list(messages);
  if (!list) return;
  for (const JinjaValue& message : list->items) {
    JinjaDict* const* dict = as<JinjaDict*>(message);
    const JinjaValue* role = dict ? (*dict)->find("role") : nullptr;
    const MarkedText* name = role ? as_text(*role) : nullptr;
    if (name && is_one_of(name->text, well_known_roles)) (*dict)->set(make_text("role"), make_text(name->text));
  }
}

JinjaValue undefined(std::string_view name) { return JinjaUndefined{std::get<JinjaText>(make_text(name))}; }

[[noreturn]] void fault_undefined(const JinjaValue& value) {
  const JinjaUndefined& what = std::get<JinjaUndefined>(value);
  fault("'{}' is undefined", what.name ? what.name->text : "a value");
}

// The index of a list item or character; negative ones count from the end.
std::optional<size_t> position_of(const JinjaValue& index, size_t size) {
  int64_t position = 0;
  if (const int64_t* number = as<int64_t>(index))
    position = *number;
  else if (const bool* truth = as<bool>(index))
    position = *truth;
  else
    return std::nullopt;
  const auto length = static_cast<int64_t>(size);
  if (position < -length || position >= length) return std::nullopt;
  return static_cast<size_t>(position < 0 ? position + length : position);
}

JinjaValue loop_attribute(const JinjaLoop& loop, std::string_view name) {
  const auto length = static_cast<int64_t>(loop.items.size()), index = static_cast<int64_t>(loop.index);
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return int64_t{1};  // counts recursive loops, which are not supported
  if (name == "depth0") return int64_t{0};
  if (name == "previtem") return index > 0 ? loop.items[index - 1] : undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < length ? loop.items[index + 1] : undefined("there is no next item");
  return undefined(name);
}

// What this thread has computed so far.
std::chrono::nanoseconds thread_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

JinjaRun::JinjaRun(const nlohmann::ordered_json& variables, const TemplateLimits& limits)
    : limits_(limits), deadline_(thread_time() + limits.time) {
  if (!variables.is_object()) fault("the variables are {}, expected an object", variables.type_name());
  for (const auto& [name, value] : variables.items()) {
    const std::string* kept = &as_text(root_names_.emplace_back(make_text(name)))->text;
    root_.set(*kept, heap_.from_json(value, is_one_of(name, special_token_names)));
    if (name == "messages") trust_roles(*root_.find(name));
  }
}

void JinjaRun::spend(size_t steps) {
  constexpr size_t steps_between_looks = 4096;
  const bool look = steps_ / steps_between_looks != (steps_ + steps) / steps_between_looks;
  steps_ += steps;
  if (steps_ > limits_.steps) fault("it takes more than {} steps", limits_.steps);
  if (look && thread_time() > deadline_) fault("it computes for more than {} ms", limits_.time.count());
}

JinjaValue JinjaRun::text(MarkedText text) {
  spend(1 + text.text.size() / bytes_per_step + text.trusted.size());
  return make_text(std::move(text));
}

std::vector<JinjaValue> JinjaRun::iterate(const JinjaValue& value) {
  std::vector<JinjaValue> items;
  if (const JinjaList* list = as_list(value)) {
    items = list->items;
  } else if (const MarkedText* all = as_text(value)) {
    const std::vector<size_t> starts = code_point_starts(all->text);
    for (size_t i = 0; i + 1 < starts.size(); ++i) items.push_back(text(all->slice(starts[i], starts[i + 1])));
  } else if (const JinjaDict* dict = as_mapping(value)) {
    for (const auto& [key, entry] : dict->entries) items.push_back(key);
  } else if (!is_undefined(value)) {
    fault("a {} has no items to go through", type_name(value));
  }
  spend(items.size());
  return items;
}

const JinjaValue* JinjaRun::find_variable(std::string_view name) const { return root_.find(name); }

const JinjaValue* JinjaRun::Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope; scope = scope->parent)
    for (const auto& [known, value] : scope->variables)
      if (known == name) return &value;
  return nullptr;
}

void JinjaRun::Scope::set(std::string_view name, JinjaValue value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

JinjaValue JinjaRun::variable(std::string_view name) {
  if (const JinjaValue* value = scope_->find(name)) return *value;
  if (const JinjaBuiltin* builtin = find_jinja_function(name)) return heap_.function({nullptr, builtin, JinjaNone{}});
  return undefined(name);
}

JinjaValue JinjaRun::get_attribute(const JinjaValue& object, std::string_view name) {
  if (is_undefined(object)) fault_undefined(object);
  if (JinjaLoop* const* loop = as<JinjaLoop*>(object); loop && !find_jinja_method(object, name))
    return loop_attribute(**loop, name);
  if (const JinjaBuiltin* method = find_jinja_method(object, name)) return heap_.function({nullptr, method, object});
  if (JinjaDict* const* dict = as<JinjaDict*>(object)) {
    spend((*dict)->entries.size());
    if (const JinjaValue* value = (*dict)->find(name)) return *value;
  }
  return undefined(name);
}

JinjaValue JinjaRun::get_item(const JinjaValue& object, const JinjaValue& index) {
  if (is_undefined(object)) fault_undefined(object);
  if (const JinjaList* list = as_list(object)) {
    if (const auto position = position_of(index, list->items.size())) return list->items[*position];
  } else if (const MarkedText* all = as_text(object); all && !as_text(index)) {
    const std::vector<size_t> starts = code_point_starts(all->text);
    spend(starts.size());
    if (const auto position = position_of(index, starts.size() - 1))
      return text(all->slice(starts[*position], starts[*position + 1]));
  } else if (const JinjaDict* dict = as_mapping(object)) {
    spend(dict->entries.size());
    for (const auto& [key, value] : dict->entries)
      if (equal(key, index)) return value;
  }
  if (const MarkedText* name = as_text(index)) return get_attribute(object, name->text);
  return undefined(to_text(index).text);
}

bool JinjaRun::contains(const JinjaValue& container, const JinjaValue& value) {
  if (const MarkedText* all = as_text(container)) {
    const MarkedText* part = as_text(value);
    if (!part) fault("'in' looks for a text in a text, not for a {}", type_name(value));
    spend(all->text.size() / bytes_per_step);
    return all->text.find(part->text) != std::string::npos;
  }
  const std::vector<JinjaValue> items = iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const JinjaValue& item) { return equal(item, value); });
}

JinjaValue JinjaRun::apply(const JinjaBuiltin& builtin, std::string_view name, JinjaArguments arguments) {
  bind_arguments(builtin, name, arguments);
  return builtin.call(*this, arguments);
}

JinjaValue JinjaRun::evaluate(const JinjaExpression& expression) {
  spend(1);
  if (++depth_ > limits_.depth)
    fail_jinja(expression.place, fmt::format("it calls itself more than {} deep", limits_.depth));
  const Level level{depth_};
  try {
    return evaluate_kind(expression);
  } catch (const JinjaFault& found) {
    fail_jinja(expression.place, found.text);
  }
}

JinjaValue JinjaRun::evaluate_kind(const JinjaExpression& expression) {
  const auto operand = [&](size_t index) { return evaluate(*expression.operands[index]); };
  switch (expression.kind) {
    case Kind::constant:
      return expression.constant;
    case Kind::variable:
      return variable(expression.name);
    case Kind::list:
      return heap_.list(evaluate_all(expression, 0));
    case Kind::tuple:
      return heap_.list(evaluate_all(expression, 0), true);
    case Kind::dict:
      return dict_literal(expression);
    case Kind::attribute:
      return get_attribute(operand(0), expression.name);
    case Kind::item: {
      const JinjaValue object = operand(0);
      return get_item(object, operand(1));
    }
    case Kind::slice:
      return slice(expression);
    case Kind::call:
      return call(expression);
    case Kind::filter:
      return filter(expression);
    case Kind::test:
      return test(expression);
    case Kind::negative:
      return jinja_negative(operand(0));
    case Kind::positive: {
      const JinjaValue value = operand(0);
      return jinja_negative(jinja_negative(value));
    }
    case Kind::logical_not:
      return !is_true(operand(0));
    case Kind::logical_and: {
      JinjaValue left = operand(0);
      return is_true(left) ? operand(1) : left;
    }
    case Kind::logical_or: {
      JinjaValue left = operand(0);
      return is_true(left) ? left : operand(1);
    }
    case Kind::conditional:
      if (is_true(operand(1))) return operand(0);
      return expression.operands[2] ? operand(2) : undefined("the else of an inline if");
    case Kind::compare:
      return comparison(expression);
    case Kind::binary: {
      const JinjaValue left = operand(0);
      return jinja_binary(*this, expression.name, left, operand(1));
    }
    case Kind::concat:
      return concat(expression);
  }
  must(false, "an expression has a known kind");
  return JinjaNone{};
}

std::vector<JinjaValue> JinjaRun::evaluate_all(const JinjaExpression& expression, size_t first) {
  std::vector<JinjaValue> values;
  for (size_t i = first; i < expression.operands.size(); ++i) values.push_back(evaluate(*expression.operands[i]));
  return values;
}

JinjaValue JinjaRun::dict_literal(const JinjaExpression& expression) {
  JinjaDict* dict = heap_.dict();
  const std::vector<JinjaValue> values = evaluate_all(expression, 0);
  for (size_t i = 0; i < values.size(); i += 2) {
    spend(dict->entries.size());
    dict->set(values[i], values[i + 1]);
  }
  return dict;
}

bool JinjaRun::compare(std::string_view symbol, const JinjaValue& left, const JinjaValue& right) {
  if (symbol == "==") return equal(left, right);
  if (symbol == "!=") return !equal(left, right);
  if (symbol == "in") return contains(right, left);
  if (symbol == "not in") return !contains(right, left);
  if (is_undefined(left)) fault_undefined(left);
  if (is_undefined(right)) fault_undefined(right);
  if (symbol == "<") return less(left, right);
  if (symbol == ">") return less(right, left);
  if (symbol == "<=") return less(left, right) || equal(left, right);
  return less(right, left) || equal(left, right);
}

JinjaValue JinjaRun::comparison(const JinjaExpression& expression) {
  JinjaValue left = evaluate(*expression.operands[0]);
  for (size_t i = 0; i < expression.symbols.size(); ++i) {
    JinjaValue right = evaluate(*expression.operands[i + 1]);
    if (!compare(expression.symbols[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

JinjaValue JinjaRun::slice(const JinjaExpression& expression) {
  const JinjaValue object = evaluate(*expression.operands[0]);
  if (is_undefined(object)) fault_undefined(object);
  const JinjaList* list = as_list(object);
  const MarkedText* all = as_text(object);
  if (!list && !all) return undefined("a slice");
  const std::vector<size_t> starts = all ? code_point_starts(all->text) : std::vector<size_t>();
  const auto length = static_cast<int64_t>(list ? list->items.size() : starts.size() - 1);
  spend(1 + length);

  const auto bound = [&](size_t index) -> std::optional<int64_t> {
    if (!expression.operands[index]) return std::nullopt;
    const JinjaValue value = evaluate(*expression.operands[index]);
    if (is_none(value)) return std::nullopt;
    if (const bool* truth = as<bool>(value)) return *truth;
    if (!as<int64_t>(value)) fault("a slice needs integers, not a {}", type_name(value));
    return *as<int64_t>(value);
  };
  const int64_t step = std::clamp<int64_t>(bound(3).value_or(1), -length - 1, length + 1);
  if (step == 0) fault("a slice step is zero");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? length : length - 1;
  const auto inside = [&](std::optional<int64_t> value, int64_t absent) {
    if (!value) return absent;
    return std::clamp(*value < 0 ? std::max(*value, -length - 1) + length : *value, lowest, highest);
  };
  const int64_t begin = inside(bound(1), step > 0 ? lowest : highest),
                end = inside(bound(2), step > 0 ? highest : lowest);

  if (all && step == 1) return text(begin < end ? all->slice(starts[begin], starts[end]) : MarkedText());
  std::vector<JinjaValue> items;
  MarkedText characters;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step)
    list ? items.push_back(list->items[i]) : characters.append(all->slice(starts[i], starts[i + 1]));
  return list ? JinjaValue(heap_.list(std::move(items), list->is_tuple)) : text(std::move(characters));
}

JinjaValue JinjaRun::concat(const JinjaExpression& expression) {
  MarkedText joined;
  for (const JinjaValue& value : evaluate_all(expression, 0)) {
    joined.append(to_text(value));
    if (joined.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
  }
  return text(std::move(joined));
}

JinjaArguments JinjaRun::arguments(const JinjaExpression& expression) {
  JinjaArguments made;
  made.positional = evaluate_all(expression, 1);
  for (const auto& [name, value] : expression.keywords) made.named.emplace_back(name, evaluate(*value));
  return made;
}

JinjaValue JinjaRun::call(const JinjaExpression& expression) {
  const JinjaExpression& callee = *expression.operands[0];
  const JinjaValue value = evaluate(callee);
  JinjaFunction* const* function = as<JinjaFunction*>(value);
  if (is_undefined(value)) fault_undefined(value);
  if (!function) fault("a {} cannot be called", type_name(value));
  JinjaArguments passed = arguments(expression);
  if ((*function)->macro) return call_macro(**function, passed);
  passed.self = (*function)->self;
  return apply(*(*function)->builtin, callee.name, std::move(passed));
}

JinjaValue JinjaRun::filter(const JinjaExpression& expression, const JinjaValue* block) {
  JinjaValue self = block ? *block : evaluate(*expression.operands[0]);
  JinjaArguments passed = arguments(expression);
  passed.self = std::move(self);
  return apply(*find_jinja_filter(expression.name), expression.name, std::move(passed));
}

JinjaValue JinjaRun::test(const JinjaExpression& expression) {
  JinjaValue self = evaluate(*expression.operands[0]);
  JinjaArguments passed = arguments(expression);
  passed.self = std::move(self);
  return apply(*find_jinja_test(expression.name), expression.name, std::move(passed));
}

}  // namespace trireme


#include <cmath>
#include <string>

#include "text/jinja_format.h"
#include "text/jinja_run.h"

// Python's arithmetic on 64-bit integers, floats, texts and lists. What would need a longer integer is a fault.
namespace trireme {
namespace {

[[noreturn]] void fault_types(std::string_view symbol, const JinjaValue& left, const JinjaValue& right) {
  fault("'{}' does not work on {} and {}", symbol, type_name(left), type_name(right));
}

double real_of(const JinjaValue& value) {
  if (const double* real = as<double>(value)) return *real;
  if (const bool* truth = as<bool>(value)) return *truth;
  return static_cast<double>(std::get<int64_t>(value));
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (base == 0 || base == 1) return base;
    if (base == -1) return exponent % 2 ? -result : result;
    if (__builtin_mul_overflow(result, base, &result)) fault("an integer is out of range");
  }
  return result;
}

JinjaValue integers(std::string_view symbol, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (symbol == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (symbol == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (symbol == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (symbol == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    return power(a, b);
  } else {
    if (b == 0) fault("division by zero");
    if (symbol == "/") return static_cast<double>(a) / static_cast<double>(b);
    if (b == -1) {  // INT64_MIN / -1 has no result
      overflow = symbol == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t rest = a % b;
      const bool down = rest != 0 && (rest < 0) != (b < 0);
      result = symbol == "//" ? a / b - down : rest + (down ? b : 0);
    }
  }
  if (overflow) fault("an integer is out of range");
  return result;
}

JinjaValue reals(std::string_view symbol, double a, double b) {
  if (symbol == "+") return a + b;
  if (symbol == "-") return a - b;
  if (symbol == "*") return a * b;
  if (symbol == "**") return std::pow(a, b);
  if (b == 0) fault("division by zero");
  if (symbol == "/") return a / b;
  const double rest = std::fmod(a, b);
  const bool down = rest != 0 && (rest < 0) != (b < 0);
  if (symbol == "%") return rest == 0 ? std::copysign(0.0, b) : down ? rest + b : rest;
  return std::floor((a - rest) / b + 0.5) - down;
}

JinjaValue repeated(JinjaRun& run, const JinjaValue& value, int64_t count) {
  const MarkedText* all = as_text(value);
  const size_t size = all ? all->text.size() : as_list(value)->items.size();
  count = std::max<int64_t>(count, 0);
  if (size && static_cast<uint64_t>(count) > max_text_size / size) fault("a repetition is too long");
  run.spend(static_cast<size_t>(count) * (all ? 1 : size));
  MarkedText text;
  std::vector<JinjaValue> items;
  for (int64_t i = 0; i < count && size; ++i)
    all ? text.append(*all)
        : (void)items.insert(items.end(), as_list(value)->items.begin(), as_list(value)->items.end());
  return all ? run.text(std::move(text)) : JinjaValue(run.heap().list(std::move(items), as_list(value)->is_tuple));
}

JinjaValue joined(JinjaRun& run, const JinjaValue& left, const JinjaValue& right) {
  if (const MarkedText* a = as_text(left), *b = as_text(right); a && b) {
    MarkedText text = *a;
    text.append(*b);
    return run.text(std::move(text));
  }
  const JinjaList *a = as_list(left), *b = as_list(right);
  if (!a || !b || a->is_tuple != b->is_tuple) fault_types("+", left, right);
  run.spend(a->items.size() + b->items.size());
  std::vector<JinjaValue> items = a->items;
  items.insert(items.end(), b->items.begin(), b->items.end());
  return run.heap().list(std::move(items), a->is_tuple);
}

bool is_repeatable(const JinjaValue& value) { return as_text(value) || as_list(value); }

}  // namespace

JinjaValue jinja_binary(JinjaRun& run, std::string_view symbol, const JinjaValue& left, const JinjaValue& right) {
  if (const MarkedText* pattern = as_text(left); pattern && symbol == "%") {
    const JinjaList* several = as_list(right);
    return run.text(percent_format(*pattern, several && several->is_tuple ? several->items : std::vector{right}));
  }
  for (const JinjaValue* side : {&left, &right})
    if (const JinjaUndefined* missing = as<JinjaUndefined>(*side))
      fault("'{}' is undefined", missing->name ? missing->name->text : "a value");
  if (is_number(left) && is_number(right)) {
    if (as<double>(left) || as<double>(right)) return reals(symbol, real_of(left), real_of(right));
    const auto integer = [](const JinjaValue& value) {
      return as<bool>(value) ? *as<bool>(value) : std::get<int64_t>(value);
    };
    return integers(symbol, integer(left), integer(right));
  }
  if (symbol == "+") return joined(run, left, right);
  if (symbol == "*" && is_repeatable(left) && as<int64_t>(right)) return repeated(run, left, *as<int64_t>(right));
  if (symbol == "*" && is_repeatable(right) && as<int64_t>(left)) return repeated(run, right, *as<int64_t>(left));
  fault_types(symbol, left, right);
}

JinjaValue jinja_negative(const JinjaValue& value) {
  if (const double* real = as<double>(value)) return -*real;
  if (const bool* truth = as<bool>(value)) return int64_t{*truth ? -1 : 0};
  const int64_t* integer = as<int64_t>(value);
  if (!integer) fault("a sign does not work on {}", type_name(value));
  if (*integer == INT64_MIN) fault("an integer is out of range");
  return -*integer;
}

}  // namespace trireme

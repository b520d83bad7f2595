#include <map>

#include "text/jinja_run.h"
#include "text/jinja_text_operations.h"

// The words after `is`.
namespace trireme {
namespace {

using Arguments = JinjaArguments;

JinjaValue is_defined(JinjaRun&, Arguments& a) { return !trireme::is_undefined(a.self); }
JinjaValue is_undefined(JinjaRun&, Arguments& a) { return trireme::is_undefined(a.self); }
JinjaValue is_none_test(JinjaRun&, Arguments& a) { return is_none(a.self); }
JinjaValue is_boolean(JinjaRun&, Arguments& a) { return as<bool>(a.self) != nullptr; }
JinjaValue is_true_test(JinjaRun&, Arguments& a) { return as<bool>(a.self) && *as<bool>(a.self); }
JinjaValue is_false_test(JinjaRun&, Arguments& a) { return as<bool>(a.self) && !*as<bool>(a.self); }
JinjaValue is_integer(JinjaRun&, Arguments& a) { return as<int64_t>(a.self) != nullptr; }
JinjaValue is_float(JinjaRun&, Arguments& a) { return as<double>(a.self) != nullptr; }
JinjaValue is_number_test(JinjaRun&, Arguments& a) { return is_number(a.self); }
JinjaValue is_string(JinjaRun&, Arguments& a) { return as_text(a.self) != nullptr; }
JinjaValue is_mapping(JinjaRun&, Arguments& a) { return as_mapping(a.self) != nullptr; }
JinjaValue is_sequence(JinjaRun&, Arguments& a) {
  return as_text(a.self) || as_list(a.self) || as_mapping(a.self) || trireme::is_undefined(a.self);
}
JinjaValue is_callable(JinjaRun&, Arguments& a) { return as<JinjaFunction*>(a.self) != nullptr; }

JinjaValue is_lower(JinjaRun&, Arguments& a) {
  const MarkedText text = to_text(a.self);
  return lowercase(text).text == text.text && uppercase(text).text != text.text;
}
JinjaValue is_upper(JinjaRun&, Arguments& a) {
  const MarkedText text = to_text(a.self);
  return uppercase(text).text == text.text && lowercase(text).text != text.text;
}

JinjaValue divides(JinjaRun& run, const JinjaValue& value, const JinjaValue& by, int64_t rest) {
  return equal(jinja_binary(run, "%", value, by), rest);
}
JinjaValue is_odd(JinjaRun& run, Arguments& a) { return divides(run, a.self, int64_t{2}, 1); }
JinjaValue is_even(JinjaRun& run, Arguments& a) { return divides(run, a.self, int64_t{2}, 0); }
JinjaValue is_divisible(JinjaRun& run, Arguments& a) { return divides(run, a.self, a.positional[0], 0); }

JinjaValue is_equal(JinjaRun&, Arguments& a) { return equal(a.self, a.positional[0]); }
JinjaValue is_unequal(JinjaRun&, Arguments& a) { return !equal(a.self, a.positional[0]); }
JinjaValue is_less(JinjaRun&, Arguments& a) { return less(a.self, a.positional[0]); }
JinjaValue is_greater(JinjaRun&, Arguments& a) { return less(a.positional[0], a.self); }
JinjaValue is_at_most(JinjaRun&, Arguments& a) {
  return less(a.self, a.positional[0]) || equal(a.self, a.positional[0]);
}
JinjaValue is_at_least(JinjaRun&, Arguments& a) {
  return less(a.positional[0], a.self) || equal(a.self, a.positional[0]);
}
JinjaValue is_in(JinjaRun& run, Arguments& a) { return run.contains(a.positional[0], a.self); }

}  // namespace

const JinjaBuiltin* find_jinja_test(std::string_view name) {
  static const std::map<std::string_view, JinjaBuiltin> tests = {
      {"boolean", {is_boolean, {}}},
      {"callable", {is_callable, {}}},
      {"defined", {is_defined, {}}},
      {"divisibleby", {is_divisible, {"num"}, 1}},
      {"eq", {is_equal, {"other"}, 1}},
      {"equalto", {is_equal, {"other"}, 1}},
      {"even", {is_even, {}}},
      {"false", {is_false_test, {}}},
      {"float", {is_float, {}}},
      {"ge", {is_at_least, {"other"}, 1}},
      {"greaterthan", {is_greater, {"other"}, 1}},
      {"gt", {is_greater, {"other"}, 1}},
      {"in", {is_in, {"seq"}, 1}},
      {"integer", {is_integer, {}}},
      {"iterable", {is_sequence, {}}},
      {"le", {is_at_most, {"other"}, 1}},
      {"lessthan", {is_less, {"other"}, 1}},
      {"lower", {is_lower, {}}},
      {"lt", {is_less, {"other"}, 1}},
      {"mapping", {is_mapping, {}}},
      {"ne", {is_unequal, {"other"}, 1}},
      {"none", {is_none_test, {}}},
      {"number", {is_number_test, {}}},
      {"odd", {is_odd, {}}},
      {"sequence", {is_sequence, {}}},
      {"string", {is_string, {}}},
      {"true", {is_true_test, {}}},
      {"undefined", {is_undefined, {}}},
      {"upper", {is_upper, {}}},
  };
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : &found->second;
}

}  // namespace trireme

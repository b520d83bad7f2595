#include <array>
#include <charconv>
#include <ctime>
#include <map>

#include "base/error.h"
#include "text/jinja_run.h"

// The functions every template can call.
namespace trireme {
namespace {

using Arguments = JinjaArguments;

constexpr uint64_t max_range = 100'000;  // Jinja's sandbox has the same limit

JinjaValue raise_exception(JinjaRun&, Arguments& a) {
  fail(ExitCode::bad_data, "the chat template refuses these messages: {}; change the row",
       to_text(a.positional[0]).text);
}

JinjaValue range(JinjaRun& run, Arguments& a) {
  const bool one = !a.has(1);
  const int64_t start = one ? 0 : a.integer(0, 0), stop = a.integer(one ? 0 : 1, 0), step = a.integer(2, 1);
  if (step == 0) fault("a range step is zero");
  std::vector<JinjaValue> items;
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t distance = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                     : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const uint64_t count = empty ? 0 : (distance - 1) / stride + 1;
  if (count > max_range) fault("a range has more than {} numbers", max_range);
  run.spend(count);
  for (uint64_t i = 0; i < count; ++i)
    items.push_back(static_cast<int64_t>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(step)));
  return run.heap().list(std::move(items));
}

JinjaDict* named_values(JinjaRun& run, Arguments& a) {
  JinjaDict* dict = run.heap().dict();
  if (a.positional.size() > 1) fault("at most one positional argument is possible");
  if (!a.positional.empty()) {
    const JinjaDict* other = as_mapping(a.positional[0]);
    if (!other) fault("a dict is needed, not a {}", type_name(a.positional[0]));
    run.spend(other->entries.size());
    dict->entries = other->entries;
  }
  for (auto& [name, value] : a.named) dict->set(make_text(name), std::move(value));
  return dict;
}

JinjaValue dict(JinjaRun& run, Arguments& a) { return named_values(run, a); }

JinjaValue make_namespace(JinjaRun& run, Arguments& a) {
  JinjaDict* names = named_values(run, a);
  names->is_namespace = true;
  return names;
}

// The date is what the caller says, else the same run would differ from day to day: the variable frozen_now, an ISO
// date with or without time ("2026-11-23", "2026-11-23T08:30:00").
JinjaValue strftime_now(JinjaRun& run, Arguments& a) {
  const JinjaValue* now = run.find_variable("frozen_now");
  const MarkedText* date = now ? as_text(*now) : nullptr;
  if (!date) fault("it asks for the date, and none was passed");
  std::tm time{};
  const std::string_view text = date->text;
  const auto field = [&](size_t begin, size_t size) {
    int number = 0;
    if (begin + size <= text.size()) std::from_chars(text.data() + begin, text.data() + begin + size, number);
    return number;
  };
  time.tm_year = field(0, 4) - 1900, time.tm_mon = field(5, 2) - 1, time.tm_mday = field(8, 2);
  time.tm_hour = field(11, 2), time.tm_min = field(14, 2), time.tm_sec = field(17, 2);
  if (text.size() < 10 || timegm(&time) == -1) fault("'{}' is no date", text);
  if (!as_own_text(a.positional[0])) fault("the format of a date must be the template's own text");
  std::array<char, 256> out{};
  const size_t size = std::strftime(out.data(), out.size(), a.text(0).text.c_str(), &time);
  return make_text(std::string_view(out.data(), size));
}

}  // namespace

const JinjaBuiltin* find_jinja_function(std::string_view name) {
  static const std::map<std::string_view, JinjaBuiltin> functions = {
      {"dict", {dict, {}, 0, true}},
      {"namespace", {make_namespace, {}, 0, true}},
      {"raise_exception", {raise_exception, {"message"}, 1}},
      {"range", {range, {"start", "stop", "step"}, 1}},
      {"strftime_now", {strftime_now, {"format"}, 1}},
  };
  const auto found = functions.find(name);
  return found == functions.end() ? nullptr : &found->second;
}

}  // namespace trireme

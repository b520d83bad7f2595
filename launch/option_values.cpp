#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/nearest.h"
#include "launch/option_table.h"

namespace trireme {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t end; (end = text.find(separator)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

bool may_be_auto(const OptionSpec& spec) { return spec.value.ends_with("|auto"); }
bool has_choices(const OptionSpec& spec) {
  return std::holds_alternative<std::string Options::*>(spec.field) && spec.value.find('|') != spec.value.npos &&
         spec.value[0] >= 'a';
}

// "a whole number of at least 1, or auto"
std::string possible(const OptionSpec& spec, bool whole) {
  std::string text = whole ? "a whole number" : "a number";
  bool low = std::isfinite(spec.low), high = std::isfinite(spec.high) && spec.high < 1e15;
  if (low && high)
    text += fmt::format("{} {} {} {}", spec.low_open ? " above" : " from", spec.low, spec.low_open ? "and up to" : "to",
                        spec.high);
  else if (low)
    text += fmt::format("{} {}", spec.low_open ? " above" : " of at least", spec.low);
  return may_be_auto(spec) ? text + ", or auto" : text;
}

std::string shown_origin(std::string_view origin) {
  return origin == kCommandLine ? "" : fmt::format(" (from {})", origin);
}

template <typename Number>
Number parse_number(const OptionSpec& spec, std::string_view text, std::string_view origin) {
  Number number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool parsed = error == std::errc() && end == text.data() + text.size() && !text.empty();
  double value = static_cast<double>(number);
  bool inside =
      parsed && std::isfinite(value) && value <= spec.high && (spec.low_open ? value > spec.low : value >= spec.low);
  if (!inside)
    fail(ExitCode::usage, "option --{}{} is '{}'; it takes {}", spec.name, shown_origin(origin), text,
         possible(spec, std::is_integral_v<Number>));
  return number;
}

bool parse_switch(const OptionSpec& spec, std::string_view text, std::string_view origin) {
  for (std::string_view yes : {"true", "1", "yes", "on"})
    if (text == yes) return true;
  for (std::string_view no : {"false", "0", "no", "off"})
    if (text == no) return false;
  fail(ExitCode::usage, "option --{}{} is '{}'; it is a switch: true or false", spec.name, shown_origin(origin), text);
}

// How others call a choice, or what has as many bytes; what they write begins so.
struct OtherName {
  std::string_view begin, choice;
};
constexpr OtherName kOtherNames[] = {
    {"awq", "int4"},   {"gptq", "int4"},    {"nf4", "int4"},      {"q4", "int4"},   {"w4", "int4"},  {"iq4", "int4"},
    {"q8", "int8"},    {"w8", "int8"},      {"nvfp4", "fp4"},     {"mxfp4", "fp4"}, {"e4m3", "fp8"}, {"f8", "fp8"},
    {"float8", "fp8"}, {"float16", "bf16"}, {"bfloat16", "bf16"}, {"fp16", "bf16"}, {"f16", "bf16"}, {"half", "bf16"}};

// " (did you mean CHOICE?)" or "".
std::string meant_choice(std::string_view text, const std::vector<std::string_view>& choices) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto is_choice = [&](std::string_view name) { return std::ranges::find(choices, name) != choices.end(); };
  std::string_view meant = is_choice(lower) ? std::string_view(lower) : "";
  for (const auto& [begin, choice] : kOtherNames)
    if (meant.empty() && lower.starts_with(begin) && is_choice(choice)) meant = choice;
  if (!meant.empty()) return fmt::format(" (did you mean {}?)", meant);
  return did_you_mean(lower, std::vector<std::string>(choices.begin(), choices.end()));
}

void check_choice(const OptionSpec& spec, std::string_view text, std::string_view origin) {
  auto choices = split(spec.value, '|');
  for (auto choice : choices)
    if (text == choice) return;
  fail(ExitCode::usage, "option --{}{} is '{}'{}; it takes one of {}", spec.name, shown_origin(origin), text,
       meant_choice(text, choices), fmt::join(choices, ", "));
}

struct Assigner {
  Options& options;
  const OptionSpec& spec;
  std::string_view text, origin;

  bool is_auto() const { return may_be_auto(spec) && text == "auto"; }
  void operator()(bool Options::*field) const { options.*field = parse_switch(spec, text, origin); }
  void operator()(int64_t Options::*field) const {
    options.*field = is_auto() ? 0 : parse_number<int64_t>(spec, text, origin);
  }
  void operator()(double Options::*field) const {
    options.*field = is_auto() ? 0 : parse_number<double>(spec, text, origin);
  }
  void operator()(std::string Options::*field) const {
    if (has_choices(spec)) check_choice(spec, text, origin);
    options.*field = text;
  }
  void operator()(std::vector<std::string> Options::*field) const {
    if (text.empty())
      fail(ExitCode::usage, "option --{}{} is empty; it takes {}", spec.name, shown_origin(origin), spec.value);
    (options.*field).emplace_back(text);
  }
  void operator()(std::vector<int64_t> Options::*field) const {
    (options.*field).clear();
    for (auto part : split(text, ',')) (options.*field).push_back(parse_number<int64_t>(spec, part, origin));
  }
};

struct Shower {
  const Options& options;
  const OptionSpec& spec;

  using Texts = std::vector<std::string>;
  template <typename Number>
  Texts number(Number value) const {
    if (may_be_auto(spec) && value == 0) return {"auto"};
    return value < spec.low ? Texts{} : Texts{fmt::format("{}", value)};  // below the range: not set
  }
  Texts operator()(bool Options::*field) const { return {options.*field ? "true" : "false"}; }
  Texts operator()(int64_t Options::*field) const { return number(options.*field); }
  Texts operator()(double Options::*field) const { return number(options.*field); }
  Texts operator()(std::string Options::*field) const { return {options.*field}; }
  Texts operator()(std::vector<std::string> Options::*field) const { return options.*field; }
  Texts operator()(std::vector<int64_t> Options::*field) const {
    return (options.*field).empty() ? Texts{} : Texts{fmt::format("{}", fmt::join(options.*field, ","))};
  }
};

}  // namespace

void assign(Options& options, const OptionSpec& spec, std::string_view text, std::string_view origin) {
  std::visit(Assigner{options, spec, text, origin}, spec.field);
}

std::vector<std::string> values_of(const Options& options, const OptionSpec& spec) {
  return std::visit(Shower{options, spec}, spec.field);
}

}  // namespace trireme

#include "text/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "text/jinja_text_operations.h"

namespace trireme {
namespace {

constexpr int64_t max_width = 1000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads a text from left to right; knows where in the pattern it is.
struct Cursor {
  const std::string& text;
  size_t position = 0;

  bool at_end() const { return position == text.size(); }
  bool skip(char wanted) {
    if (at_end() || text[position] != wanted) return false;
    ++position;
    return true;
  }
  std::optional<int64_t> number() {
    if (at_end() || !is_digit(text[position])) return std::nullopt;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data() + position, text.data() + text.size(), value);
    if (error != std::errc() || value > max_width) fault("a width in a format is more than {}", max_width);
    position = end - text.data();
    return value;
  }
};

struct PercentField {
  bool to_left = false;
  bool zeros = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
  char kind = 's';
};

PercentField read_percent_field(Cursor& cursor) {
  PercentField field;
  for (;;) {
    if (cursor.skip('-'))
      field.to_left = true;
    else if (cursor.skip('0'))
      field.zeros = true;
    else
      break;
  }
  field.width = cursor.number().value_or(0);
  if (cursor.skip('.')) field.precision = cursor.number().value_or(0);
  if (cursor.at_end()) fault("a format ends after '%'");
  field.kind = cursor.text[cursor.position++];
  if (std::string_view("srdixf").find(field.kind) == std::string_view::npos)
    fault("'%{}' in a format is not supported", field.kind);
  return field;
}

int64_t whole_number(const JinjaValue& value) {
  if (const int64_t* integer = as<int64_t>(value)) return *integer;
  if (const bool* truth = as<bool>(value)) return *truth;
  const double* real = as<double>(value);
  if (!real || !(*real > -9e18 && *real < 9e18)) fault("a format needs a number, not a {}", type_name(value));
  return static_cast<int64_t>(*real);
}

MarkedText written(const PercentField& field, const JinjaValue& value) {
  MarkedText text;
  if (field.kind == 's' || field.kind == 'r') {
    text = field.kind == 's' ? to_text(value) : to_repr(value);
    const std::vector<size_t> starts = code_point_starts(text.text);
    const auto length = static_cast<int64_t>(starts.size() - 1);
    return field.precision ? text.slice(0, starts[std::min(*field.precision, length)]) : text;
  }
  if (field.kind == 'f') {
    const double* real = as<double>(value);
    const double number = real ? *real : static_cast<double>(whole_number(value));
    text.append(fmt::format("{:.{}f}", number, field.precision.value_or(6)), true);
    return text;
  }
  if (field.precision) fault("a precision with '%{}' is not supported", field.kind);
  if (field.kind == 'x' && as<double>(value)) fault("'%x' in a format needs an integer");
  const int64_t number = whole_number(value);
  text.append(field.kind == 'x' ? fmt::format("{:x}", number) : std::to_string(number), true);
  return text;
}

void append_padded(MarkedText& out, const PercentField& field, const MarkedText& text) {
  const auto length = static_cast<int64_t>(code_point_starts(text.text).size() - 1);
  const std::string padding(static_cast<size_t>(std::max<int64_t>(field.width - length, 0)), ' ');
  const bool is_number = field.kind != 's' && field.kind != 'r';
  if (field.to_left) {
    out.append(text);
    out.append(padding, true);
  } else if (field.zeros && is_number) {
    const size_t sign = text.text.starts_with('-');
    out.append(text.slice(0, sign));
    out.append(std::string(padding.size(), '0'), true);
    out.append(text.slice(sign, text.text.size()));
  } else {
    out.append(padding, true);
    out.append(text);
  }
}

}  // namespace

MarkedText percent_format(const MarkedText& pattern, const std::vector<JinjaValue>& values) {
  MarkedText out;
  size_t next = 0;
  Cursor cursor{pattern.text};
  while (!cursor.at_end()) {
    const size_t begin = cursor.position;
    const size_t sign = std::min(pattern.text.find('%', begin), pattern.text.size());
    out.append(pattern.slice(begin, sign));
    cursor.position = sign;
    if (!cursor.skip('%')) break;
    if (cursor.skip('%')) {
      out.append(pattern.slice(sign, sign + 1));
      continue;
    }
    const PercentField field = read_percent_field(cursor);
    if (next == values.size()) fault("a format has more fields than values");
    append_padded(out, field, written(field, values[next++]));
    if (out.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
  }
  if (next < values.size()) fault("a format has fewer fields than values");
  return out;
}

MarkedText brace_format(const MarkedText& pattern, const JinjaArguments& arguments) {
  MarkedText out;
  size_t next = 0;
  for (size_t position = 0; position < pattern.text.size();) {
    const size_t brace = std::min(pattern.text.find_first_of("{}", position), pattern.text.size());
    out.append(pattern.slice(position, brace));
    if (brace == pattern.text.size()) break;
    if (brace + 1 < pattern.text.size() && pattern.text[brace + 1] == pattern.text[brace]) {
      out.append(pattern.slice(brace, brace + 1));
      position = brace + 2;
      continue;
    }
    const size_t end = pattern.text.find('}', brace);
    if (pattern.text[brace] == '}' || end == std::string::npos)
      fault("a format has a single '{}'", pattern.text[brace]);
    const std::string name = pattern.text.substr(brace + 1, end - brace - 1);
    if (name.find_first_of("!:.[{") != std::string::npos) fault("'{{{}}}' in a format is not supported", name);
    Cursor cursor{name};
    const std::optional<int64_t> number = cursor.number();
    const JinjaValue* value = nullptr;
    if (name.empty() || (number && cursor.at_end())) {
      const size_t index = name.empty() ? next++ : static_cast<size_t>(*number);
      if (index < arguments.positional.size()) value = &arguments.positional[index];
    } else {
      for (const auto& [known, named] : arguments.named)
        if (known == name) value = &named;
    }
    if (!value) fault("a format has no value for '{{{}}}'", name);
    out.append(to_text(*value));
    if (out.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
    position = end + 1;
  }
  return out;
}

}  // namespace trireme

#include "launch/json_lines.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "job/byte_source.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

// Values far deeper overflow the stack when they are copied or printed. A result holds what its row held.
constexpr int kMaxDepth = 160;

ordered_json parse_line(const std::string& text, const std::string& where) {
  auto check_depth = [&](int depth, ordered_json::parse_event_t, ordered_json&) {
    if (depth > kMaxDepth) fail(ExitCode::bad_data, "{}: JSON nested deeper than {}", where, kMaxDepth);
    return true;
  };
  try {
    auto value = ordered_json::parse(text, check_depth);
    if (!value.is_object())
      fail(ExitCode::bad_data, "{}: a {} stands where an object {{...}} is expected", where, value.type_name());
    return value;
  } catch (const ordered_json::parse_error& error) {
    fail(ExitCode::bad_data, "{}: not valid JSON at byte {} of the line", where, error.byte);
  } catch (const ordered_json::out_of_range&) {
    fail(ExitCode::bad_data, "{}: a number is too large for a float", where);
  }
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r") == text.npos; }

}  // namespace

void for_each_json_line(const std::string& path, const JsonLine& each, size_t most) {
  bool is_stdin = path.empty() || path == "-";
  auto source = ByteSource::open(is_stdin ? "/dev/stdin" : path);
  std::string name = is_stdin ? "standard input" : path, line;
  int64_t number = 0;
  auto take = [&] {
    number++;
    std::string where = fmt::format("{} line {}", name, number);
    if (!is_blank(line)) {
      ordered_json object = parse_line(line, where);
      each(number, object);
    }
    line.clear();
  };
  std::vector<char> buffer(1 << 16);
  while (size_t count = source->read(buffer)) {
    for (std::string_view rest(buffer.data(), count); !rest.empty();) {
      size_t end = std::min(rest.find('\n'), rest.size());
      line += rest.substr(0, end);
      if (line.size() > most)
        fail(ExitCode::bad_data, "{} line {} is longer than {} MiB", name, number + 1, most >> 20);
      if (end == rest.size()) break;
      take();
      rest.remove_prefix(end + 1);
    }
  }
  if (!line.empty()) take();
}

}  // namespace trireme

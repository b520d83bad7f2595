#include "checkpoint/json_file.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"

namespace trireme {

using nlohmann::json;

namespace {

// Of the objects that are open while a text is parsed.
class FieldNames {
 public:
  explicit FieldNames(const std::string& path) : path_(path) {}

  void take(json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) open_.emplace_back();
    if (event == json::parse_event_t::object_end) open_.pop_back();
    if (event != json::parse_event_t::key) return;
    const std::string& name = value.get_ref<const std::string&>();
    if (!open_.back().insert(name).second)
      fail(ExitCode::bad_data, "{}: an object has the field {} twice; keep one", path_, shown_name(name));
  }

 private:
  const std::string& path_;
  std::vector<std::set<std::string>> open_;
};

}  // namespace

std::string json_fault(const nlohmann::detail::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find("; last read"));
}

std::string shown_name(std::string_view name) {
  return json(name.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string read_text_file(const InputFile& file, uint64_t most) {
  if (file.bytes() > most)
    fail(ExitCode::bad_data, "{} has {} bytes; files of its kind have {} at most: check that it is the right one",
         file.path(), file.bytes(), most);
  std::string text(file.bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)), "text");
  return text;
}

json parse_json_object(std::string_view text, const std::string& path, int most, JsonNames names) {
  FieldNames seen(path);
  auto sound = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > most)
      fail(ExitCode::bad_data, "{}: JSON nested deeper than {}; no such file needs that, copy the file again", path,
           most);
    if (names == JsonNames::once) seen.take(event, value);
    return true;
  };
  json value;
  try {
    value = json::parse(text, sound);
  } catch (const json::parse_error& error) {
    fail(ExitCode::bad_data, "{}: byte {} is no JSON ({}); copy the file again", path, error.byte, json_fault(error));
  } catch (const json::out_of_range& error) {  // a number past the largest double
    fail(ExitCode::bad_data, "{}: the JSON cannot be read ({}); copy the file again", path,
         std::string(error.what()).substr(0, 120));
  }
  if (!value.is_object())
    fail(ExitCode::bad_data, "{}: the JSON is {}, expected an object; copy the file again", path, value.type_name());
  return value;
}

json read_json_file(const std::string& path, const JsonLimits& limits) {
  InputFile file(path);
  return parse_json_object(read_text_file(file, limits.bytes), path, limits.depth);
}

}  // namespace trireme

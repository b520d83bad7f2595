#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/printable.h"

namespace trireme {

// The fields of one object of a file that somebody wrote: each is checked before it is used. What is wrong is an
// Error(bad_data) that names the file, the object and the field. Keeps references to both arguments.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, const std::string& source, std::string what = "machine")
      : object_(object), source_(source), what_(std::move(what)) {
    if (!object.is_object())
      fail(ExitCode::bad_data, "{}: a {} is a JSON object; it is {}", source, what_, object.type_name());
  }
  bool has(const char* field) const { return object_.contains(field); }
  const nlohmann::json& at(const char* field) const {
    if (!has(field)) refuse(field, "is not there");
    return object_.at(field);
  }
  double number(const char* field, double otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_number() || !(at(field).get<double>() >= 0)) refuse(field, "must be a number of at least 0");
    return at(field).get<double>();
  }
  int64_t whole(const char* field, int64_t otherwise, int64_t least, int64_t most) const {
    if (!has(field)) return otherwise;
    const nlohmann::json& value = at(field);
    // An unsigned number past int64_t would wrap around.
    const bool fits = value.is_number_integer() && !(value.is_number_unsigned() && value > uint64_t{INT64_MAX});
    if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most)
      refuse(field, fmt::format("must be a whole number from {} to {}", least, most));
    return value.get<int64_t>();
  }
  // Such names are printed beside others.
  std::string text(const char* field, const std::string& otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_string()) refuse(field, "must be a text");
    return printable(at(field).get_ref<const std::string&>());
  }
  bool truth(const char* field, bool otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_boolean()) refuse(field, "must be true or false");
    return at(field).get<bool>();
  }
  // A list of at most `most`; empty where there is no such field.
  const nlohmann::json& list(const char* field, size_t most) const {
    static const nlohmann::json kNone = nlohmann::json::array();
    if (!has(field)) return kNone;
    if (!at(field).is_array() || at(field).size() > most)
      refuse(field, fmt::format("must be a list of at most {}", most));
    return at(field);
  }
  void only(std::initializer_list<std::string_view> known) const {
    for (const auto& [name, value] : object_.items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        fail(ExitCode::bad_data, "{}: there is no field \"{}\" of a {}; there are {}", source_, name, what_,
             fmt::join(known, ", "));
  }
  [[noreturn]] void refuse(const char* field, const std::string& why) const {
    fail(ExitCode::bad_data, "{}: field \"{}\" of the {} {}", source_, field, what_, why);
  }

 private:
  const nlohmann::json& object_;
  const std::string& source_;
  std::string what_;
};

}  // namespace trireme

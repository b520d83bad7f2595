#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// A value of a tokenizer.json that knows where it stands, so that every complaint can name it. A missing field is null,
// as for the library that writes these files.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  JsonField operator[](std::string_view name) const;  // null when this is null or has no such field
  bool is_null() const;
  bool is_array() const;
  const std::string& path() const { return path_; }

  const nlohmann::json& object() const;
  const nlohmann::json& array() const;
  std::vector<JsonField> elements() const;
  const std::string& text() const;
  std::string text_or(std::string_view absent) const;
  bool flag_or(bool absent) const;
  int64_t integer(int64_t low, int64_t high) const;
  double number() const;

  // The field is damaged: throws Error(bad_data).
  [[noreturn]] void damaged(std::string_view seen, std::string_view expected) const;
  // The field asks for something this version does not do: throws Error(bad_data).
  [[noreturn]] void unsupported(std::string_view what, std::string_view supported) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace trireme

#include "text/json_field.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace trireme {
namespace {

const nlohmann::json absent_field;

// At most this much of a hostile value in a message.
std::string shortened(std::string_view text) {
  constexpr size_t limit = 80;
  std::string out = nlohmann::json(text.substr(0, limit)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() > limit ? out + "..." : out;
}

}  // namespace

JsonField JsonField::operator[](std::string_view name) const {
  const std::string path = path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  if (is_null()) return {absent_field, path};
  const auto found = object().find(name);
  return {found == value_->end() ? absent_field : *found, path};
}

bool JsonField::is_null() const { return value_->is_null(); }
bool JsonField::is_array() const { return value_->is_array(); }

const nlohmann::json& JsonField::object() const {
  if (!value_->is_object()) damaged(value_->type_name(), "an object");
  return *value_;
}

const nlohmann::json& JsonField::array() const {
  if (!value_->is_array()) damaged(value_->type_name(), "an array");
  return *value_;
}

std::vector<JsonField> JsonField::elements() const {
  std::vector<JsonField> fields;
  for (const nlohmann::json& element : array())
    fields.emplace_back(element, fmt::format("{}[{}]", path_, fields.size()));
  return fields;
}

const std::string& JsonField::text() const {
  if (!value_->is_string()) damaged(value_->type_name(), "a string");
  return value_->get_ref<const std::string&>();
}

std::string JsonField::text_or(std::string_view absent) const { return is_null() ? std::string(absent) : text(); }

bool JsonField::flag_or(bool absent) const {
  if (is_null()) return absent;
  if (!value_->is_boolean()) damaged(value_->type_name(), "true or false");
  return value_->get<bool>();
}

int64_t JsonField::integer(int64_t low, int64_t high) const {
  const std::string range = fmt::format("an integer from {} to {}", low, high);
  if (!value_->is_number_integer()) damaged(value_->type_name(), range);
  const bool above = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(high);
  const auto number = value_->get<int64_t>();
  if (above || number < low || number > high) damaged(value_->dump(), range);
  return number;
}

double JsonField::number() const {
  if (!value_->is_number()) damaged(value_->type_name(), "a number");
  return value_->get<double>();
}

void JsonField::damaged(std::string_view seen, std::string_view expected) const {
  fail(ExitCode::bad_data, "tokenizer.json is damaged: field `{}` is {}, expected {}; fetch the model again", path_,
       shortened(seen), expected);
}

void JsonField::unsupported(std::string_view what, std::string_view supported) const {
  fail(ExitCode::bad_data,
       "tokenizer.json asks for something unsupported: field `{}` is {}; supported: {}; tokenize elsewhere and pass "
       "token_ids",
       path_, shortened(what), supported);
}

}  // namespace trireme

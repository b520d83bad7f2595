#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace trireme {

// Typed reads of one object of a published config, and what was not read in the end. A null counts as absent. Throws
// Error(bad_data) naming the source and the field.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, const std::string& source, const std::string& prefix = "");

  const nlohmann::json* find(const char* field);
  bool has(const char* field) const { return object_.contains(field); }  // null or not
  int64_t integer(const char* field);                                    // must be there
  int64_t integer(const char* field, int64_t otherwise);
  int count(const char* field);  // an integer that is no less than 0
  int count(const char* field, int64_t otherwise);
  double real(const char* field, double otherwise);
  std::optional<double> find_real(const char* field);
  bool boolean(const char* field, bool otherwise);
  std::string text(const char* field, const std::string& otherwise);
  std::vector<double> reals(const char* field);  // [] when absent
  std::vector<int64_t> integers(const char* field);
  std::vector<std::string> texts(const char* field);
  ConfigReader nested(const char* field);  // an object that must be there, to be read as this one
  int32_t token(const nlohmann::json& value, const char* field) const;

  // A feature that exists elsewhere and not here: absent, or with the value that asks for nothing.
  void only(const char* field, const nlohmann::json& neutral);
  // Changes nothing here.
  void ignore(const char* field) { known_.push_back(field); }
  void check_rest() const;

  [[noreturn]] void refuse(const char* field, const std::string& why) const;

 private:
  int64_t integer_of(const nlohmann::json& value, const char* field) const;
  const nlohmann::json* find_list(const char* field);

  const nlohmann::json& object_;
  const std::string& source_;
  std::string prefix_;  // "rope_parameters."
  std::vector<std::string> known_;
};

}  // namespace trireme

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "checkpoint/input_file.h"

namespace trireme {

// What a foreign text file or JSON text may be at most.
struct JsonLimits {
  uint64_t bytes = uint64_t{16} << 20;
  int depth = 32;  // of nested objects and arrays
};

// What a JSON parser says is wrong, without the text that it read, which may be of any length.
std::string json_fault(const nlohmann::detail::exception& error);
// A name out of a foreign file as JSON, so that it stays on one line; 80 bytes of it at most.
std::string shown_name(std::string_view name);

// The whole of a small file. Throws Error(bad_data) naming the file when it is longer than `most` bytes.
std::string read_text_file(const InputFile& file, uint64_t most);
enum class JsonNames : uint8_t { last_counts, once };  // of an object's fields
// An object from `text`, which may be hostile. Throws Error(bad_data) naming `path`, and the byte of what is no JSON,
// or the field that an object has twice.
nlohmann::json parse_json_object(std::string_view text, const std::string& path, int depth = JsonLimits{}.depth,
                                 JsonNames names = JsonNames::last_counts);
nlohmann::json read_json_file(const std::string& path, const JsonLimits& limits = {});

}  // namespace trireme

#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "job/corpus.h"

namespace trireme {

// Calls `each` with every non-blank line of a JSONL file ("-" or "": standard input; .gz and .zst by magic bytes),
// which must be an object. Throws Error(bad_data) naming file and line: not JSON, deeper than 160, longer than `most`.
using JsonLine = std::function<void(int64_t line, nlohmann::ordered_json& object)>;
void for_each_json_line(const std::string& path, const JsonLine& each, size_t most = kMaxRowBytes);

}  // namespace trireme

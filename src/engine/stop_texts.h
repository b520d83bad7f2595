#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "base/utf8.h"

namespace trireme {

constexpr size_t kMostStops = 64, kMostStopBytes = 4096;  // of a request; each is searched for after each token

// Why `text` cannot be the number-th stop text of a request, from 1 on; "": it can.
inline std::string stop_fault(size_t number, std::string_view text) {
  if (number > kMostStops) return fmt::format("stop has more than {} texts", kMostStops);
  if (text.empty() || text.size() > kMostStopBytes)
    return fmt::format("a stop text has {} bytes; 1 to {} can be", text.size(), kMostStopBytes);
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length_at(text, i);
    if (length == 0) return fmt::format("a stop text is not UTF-8 at byte {}", i);
    i += length;
  }
  return "";
}

}  // namespace trireme

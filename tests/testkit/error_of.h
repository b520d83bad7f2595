#pragma once

#include <string>

#include "base/error.h"

namespace trireme::testkit {

// The Error that `work` throws, as "65: text"; "" when it throws none. Other exceptions pass.
template <typename Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    return std::to_string(static_cast<int>(e.code())) + ": " + e.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& piece) {
  return text.find(piece) != std::string::npos;
}

}  // namespace trireme::testkit

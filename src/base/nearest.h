#pragma once

#include <span>
#include <string>
#include <string_view>

namespace trireme {

// " (did you mean NAME?)" for the candidate that few edits turn `word` into, else "".
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

}  // namespace trireme

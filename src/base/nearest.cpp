#include "base/nearest.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace trireme {

namespace {

// Letters to insert, delete, replace or swap with their neighbour to make b of a (restricted Damerau-Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); i++) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view word, std::span<const std::string> candidates) {
  size_t best = word.size() / 3 + 1;  // as many edits as this: no longer the same word
  std::string found;
  for (const std::string& candidate : candidates) {
    size_t edits = candidate.starts_with(word) && word.size() > 2 ? 1 : edit_distance(word, candidate);
    if (edits >= best) continue;
    best = edits;
    found = candidate;
  }
  return found.empty() ? "" : fmt::format(" (did you mean {}?)", found);
}

}  // namespace trireme

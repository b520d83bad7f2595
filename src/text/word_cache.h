#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace trireme {

// Remembers where the ids of a word stand in the output of one encode call. A slot keeps the last word that came to it,
// so its size is fixed. Words must outlive it.
class WordCache {
 public:
  struct Ids {
    size_t begin;
    size_t count;
  };

  explicit WordCache(size_t text_bytes);

  // The slot of a word; use it at once.
  struct Slot {
    const char* data = nullptr;
    size_t size = 0;
    Ids ids{0, 0};
    bool holds(std::string_view word) const { return data && std::string_view(data, size) == word; }
  };
  Slot& slot(std::string_view word);

 private:
  std::vector<Slot> slots_;  // a power of two
};

}  // namespace trireme

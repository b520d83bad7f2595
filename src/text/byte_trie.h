#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace trireme {

// A set of byte strings, each with a number, walked from its root byte by byte. Edges lie in one hash table.
class ByteTrie {
 public:
  static constexpr int32_t root = 0;

  void add(std::string_view text, int32_t value);  // a text of its own later takes the place of its equal
  bool empty() const { return values_.size() == 1; }

  int32_t child(int32_t node, uint8_t byte) const;                                  // -1: none
  int32_t value(int32_t node) const { return values_[static_cast<size_t>(node)]; }  // -1: no text ends here

 private:
  struct Edge {
    uint64_t key = ~0ull;  // node << 8 | byte; ~0: an empty slot
    int32_t child = -1;
  };
  void grow();
  size_t slot(uint64_t key) const;  // where it is or would be

  std::vector<int32_t> values_{-1};                  // [nodes]
  std::vector<Edge> edges_ = std::vector<Edge>(16);  // a power of two, at most half full
};

}  // namespace trireme

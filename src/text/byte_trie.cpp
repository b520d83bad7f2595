#include "text/byte_trie.h"

#include "text/mixed_bits.h"

namespace trireme {

size_t ByteTrie::slot(uint64_t key) const {
  const size_t mask = edges_.size() - 1;
  size_t at = mixed_bits(key) & mask;
  while (edges_[at].child >= 0 && edges_[at].key != key) at = (at + 1) & mask;
  return at;
}

void ByteTrie::grow() {
  std::vector<Edge> old(2 * edges_.size());
  old.swap(edges_);
  for (const Edge& edge : old)
    if (edge.child >= 0) edges_[slot(edge.key)] = edge;
}

void ByteTrie::add(std::string_view text, int32_t value) {
  int32_t node = root;
  for (const char c : text) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c);
    size_t at = slot(key);
    if (edges_[at].child < 0) {
      if (2 * values_.size() >= edges_.size()) grow(), at = slot(key);
      edges_[at] = {key, static_cast<int32_t>(values_.size())};
      values_.push_back(-1);
    }
    node = edges_[at].child;
  }
  values_[static_cast<size_t>(node)] = value;
}

int32_t ByteTrie::child(int32_t node, uint8_t byte) const {
  return edges_[slot(static_cast<uint64_t>(node) << 8 | byte)].child;
}

}  // namespace trireme

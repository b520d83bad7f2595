#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace trireme {

// Which KV blocks are free. Every rank of a replica has equally many; only the leader hands them out.
class BlockPool {
 public:
  explicit BlockPool(int32_t blocks) : free_(static_cast<size_t>(blocks)), total_(blocks) {
    std::iota(free_.rbegin(), free_.rend(), 0);  // lowest first
  }
  int64_t available() const { return static_cast<int64_t>(free_.size()); }
  int64_t total() const { return total_; }
  int32_t take() {
    must(!free_.empty(), "a KV block is free when one is taken");
    int32_t block = free_.back();
    free_.pop_back();
    return block;
  }
  void give_back(std::vector<int32_t>& blocks) {
    free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
    blocks.clear();
  }

 private:
  std::vector<int32_t> free_;
  int64_t total_;
};

}  // namespace trireme

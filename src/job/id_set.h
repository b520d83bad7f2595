#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace trireme {

// A set of 64-bit hashes: which ids were seen. Split by the top byte into 256 open-addressed tables that grow one at a
// time, so that growing never doubles the whole. 9 to 19 bytes an id once there are thousands.
class IdSet {
 public:
  bool insert(uint64_t hash);  // false: it was there already
  size_t bytes() const;        // of all tables

 private:
  struct Table {
    std::unique_ptr<uint64_t[]> slots;  // [capacity], 0: free
    size_t capacity = 0;                // 0 or a power of two
    size_t used = 0;
  };
  static uint64_t* find_slot(const Table& table, uint64_t hash);
  static void grow(Table& table);

  std::array<Table, 256> tables_;
};

}  // namespace trireme

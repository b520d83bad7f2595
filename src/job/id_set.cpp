#include "job/id_set.h"

namespace trireme {

// The slot that holds the hash, or the free one where it belongs. Linear probing from the low bits: the top byte chose
// the table.
uint64_t* IdSet::find_slot(const Table& table, uint64_t hash) {
  size_t i = hash & (table.capacity - 1);
  while (table.slots[i] != 0 && table.slots[i] != hash) i = (i + 1) & (table.capacity - 1);
  return &table.slots[i];
}

void IdSet::grow(Table& table) {
  Table larger;
  larger.capacity = table.capacity == 0 ? 16 : table.capacity * 2;
  larger.slots = std::make_unique<uint64_t[]>(larger.capacity);
  larger.used = table.used;
  for (size_t i = 0; i < table.capacity; i++)
    if (table.slots[i] != 0) *find_slot(larger, table.slots[i]) = table.slots[i];
  table = std::move(larger);
}

bool IdSet::insert(uint64_t hash) {
  if (hash == 0) hash = 1;  // 0 marks a free slot
  Table& table = tables_[hash >> 56];
  if (table.used + 1 > table.capacity / 8 * 7) grow(table);
  uint64_t* slot = find_slot(table, hash);
  if (*slot == hash) return false;
  *slot = hash;
  table.used++;
  return true;
}

size_t IdSet::bytes() const {
  size_t total = sizeof *this;
  for (const Table& table : tables_) total += table.capacity * sizeof(uint64_t);
  return total;
}

}  // namespace trireme

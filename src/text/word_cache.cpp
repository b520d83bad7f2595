#include "text/word_cache.h"

#include <algorithm>
#include <bit>

#include "base/hash.h"

namespace trireme {

WordCache::WordCache(size_t text_bytes) : slots_(std::bit_ceil(std::clamp<size_t>(text_bytes / 8, 16, 1 << 15))) {}

WordCache::Slot& WordCache::slot(std::string_view word) { return slots_[xxh3(word) & (slots_.size() - 1)]; }

}  // namespace trireme

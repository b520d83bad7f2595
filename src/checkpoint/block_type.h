#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/weight_format.h"
#include "checkpoint/block_split.h"

namespace trireme {

// How a GGUF file stores values (ggml's block types), and how that becomes our WeightFormat without loss. One table
// drives sizes, names, conversion and error texts: a new type is one more row of it.
struct BlockType {
  uint32_t id = 0;        // ggml_type
  std::string_view name;  // "Q4_1"
  int columns = 1;        // values in a block
  int bytes = 0;          // stored bytes of a block
  WeightFormat format;
  // Splits `blocks` consecutive blocks of a row into our parts, appended in order; minimums may be null where the
  // format has none, scales too where it is plain.
  BlockSplit split = nullptr;
};

const BlockType* find_block_type(uint32_t id);  // null: not supported
std::string block_type_name(uint32_t id);       // "Q6_K"; "type 77" when ggml has no such type either
std::string supported_block_types();            // "F32, F16, ..."

}  // namespace trireme

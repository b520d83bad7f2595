#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/input_file.h"

namespace trireme {

inline constexpr int kIndexVersion = 2;           // 2: the config has features of its own, no longer a family's fields
inline constexpr uint64_t kAlignedBytes = 65536;  // datasets from this size on begin at a multiple of kAlignment
inline constexpr uint64_t kAlignment = 4096;      // bytes: pages and disk blocks

// The index of a checkpoint (docs/checkpoint.md): what the user block holds, as JSON after an IndexHeader.
struct Index {
  int unit_formula = 0;  // version of the formula that made the units
  int unit_group = 1;    // the formula's other input: columns that share a scale in the row-parallel weights
  nlohmann::json config;
  struct Blob {
    std::string name;
    uint64_t offset = 0;  // in the file
    uint64_t bytes = 0;
    uint64_t checksum = 0;  // XXH3-64
  };
  std::vector<Blob> blobs;
  std::vector<TensorInfo> tensors;  // in the order of the model, and but for small ones of the file
};

// The first bytes of the file, little-endian, before the JSON text.
struct IndexHeader {
  char magic[8] = {'T', 'R', 'I', 'R', 'E', 'M', 'E', '\n'};
  uint32_t version = kIndexVersion;
  uint32_t header_bytes = sizeof(IndexHeader);
  uint64_t user_block_bytes = 0;  // where HDF5 begins: a power of two
  uint64_t file_bytes = 0;
  uint64_t index_bytes = 0;      // of the JSON text
  uint64_t index_checksum = 0;   // XXH3-64 of it: the digest of the checkpoint
  uint64_t header_checksum = 0;  // XXH3-64 of the fields above
};
static_assert(sizeof(IndexHeader) == 56);

// Stored bytes of one unit in each part (values or codes, scales, minimums), from shape and format.
uint64_t unit_bytes(const TensorInfo& tensor, int part);

std::string index_text(const Index& index);
// What begins the file: header and text, [user_block_bytes].
std::string user_block(const std::string& text, uint64_t user_block_bytes, uint64_t file_bytes);

bool is_checkpoint(const std::string& path);  // by magic bytes, of any version; false when it cannot be read
// Reads the header and the index; every field is checked against the others and the file's size. Throws
// Error(bad_data).
Index read_index(const InputFile& file, std::string* digest);

}  // namespace trireme

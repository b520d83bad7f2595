#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "checkpoint/block_type.h"
#include "checkpoint/input_file.h"

namespace trireme {

// The value of a metadata key. Integers of every width become int64_t (a uint64 above 2^63 - 1 is refused), floats
// double.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>>;

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

struct GgufTensor {
  std::string name;
  const BlockType* type = nullptr;
  int64_t rows = 0;     // all outer dimensions; 1 for a vector
  int64_t columns = 0;  // the contiguous dimension
  int dimensions = 0;
  const InputFile* file = nullptr;  // belongs to the Gguf
  uint64_t offset = 0;              // in the file
  uint64_t row_bytes = 0;
};

// A GGUF file (versions 2 and 3, little-endian), or the first of several that make one model (NAME-00001-of-00003.gguf;
// the others stand beside it). They may be hostile: every count, length, offset and product is checked before it is
// used. Throws Error(bad_data) naming file, field and byte. Holds metadata and open files; weights stay in them.
class Gguf {
 public:
  explicit Gguf(const std::string& path);

  const std::deque<InputFile>& files() const { return files_; }  // at least one; the first holds the metadata
  const std::string& path() const { return files_.front().path(); }
  int version() const { return version_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the files' order
  const GgufTensor* find_tensor(std::string_view name) const;

  // Typed metadata. find_: null when absent, Error(bad_data) when of another type. get_: must exist.
  template <typename T>
  const T* find(std::string_view key) const {
    auto found = metadata_.find(key);
    if (found == metadata_.end()) return nullptr;
    if (const T* value = std::get_if<T>(&found->second)) return value;
    wrong_type(key);
  }
  template <typename T>
  const T& get(std::string_view key) const {
    if (const T* value = find<T>(key)) return *value;
    missing(key);
  }

  static bool is_gguf(const std::string& path);  // by magic bytes; false when it cannot be read

 private:
  [[noreturn]] void wrong_type(std::string_view key) const;
  [[noreturn]] void missing(std::string_view key) const;
  void take(std::vector<GgufTensor> tensors);
  void read_shards(int64_t count);

  std::deque<InputFile> files_;  // does not move them: tensors point at them
  int version_ = 0;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

}  // namespace trireme

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/input_file.h"

namespace trireme {

// A tensor of a safetensors file, of any of the format's element types: which of them can be converted is not asked
// here.
struct SafetensorsTensor {
  std::string name;
  std::string type;            // "BF16", as the file spells it
  std::vector<int64_t> shape;  // outermost first; empty: one value
  uint64_t offset = 0;         // in the file
  uint64_t bytes = 0;
};

// A safetensors file, which may be hostile: the header's length, its JSON, every shape, type and place is checked
// before use; tensors stand one after another without holes, in any order of names. Throws Error(bad_data) naming file,
// tensor and byte. Holds names and places; values stay in the file.
class Safetensors {
 public:
  static constexpr uint64_t kMaxHeader = 100'000'000;  // bytes, the format's own limit
  static constexpr size_t kMaxTensors = 1 << 17;       // of a file
  static constexpr size_t kMaxName = 1024;             // bytes

  explicit Safetensors(const std::string& path);

  const InputFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  // in the order of their bytes

 private:
  void check_layout(uint64_t data_begin);

  InputFile file_;
  std::vector<SafetensorsTensor> tensors_;
};

// The files of a folder that hold its weights: model.safetensors, or the shards that model.safetensors.index.json
// names. The index is checked against the shards: each exists beside it, and has the tensors that the index gives it
// and no others. Links may lead to files of the same folder or, in a Hugging Face cache, to its blobs; anywhere else
// with follow_links only. Throws Error(bad_data) naming index or shard, and tensor.
std::vector<Safetensors> open_safetensors(const std::string& folder, bool follow_links);
// Whether a file stands there, or a link: one that leads nowhere is an error, and no missing file.
bool is_there(const std::string& path);
// Of one file of a model's folder, by the rule for links above: throws, or gives back `path`.
std::string check_link(const std::string& path, bool follow_links);

}  // namespace trireme

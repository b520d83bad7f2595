#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace trireme {

// The finished rows of a job, in the order in which they came, in a part file; with 8 bytes of memory a row to put them
// in the order of the input at the end. No finished row waits for an earlier one.
class ResultStore {
 public:
  explicit ResultStore(const std::string& part_path);

  // Each row once; the line without its end.
  void append(uint64_t row, std::string_view line);
  uint64_t size() const { return size_; }
  void flush();  // what is buffered goes to the file

  // Writes rows 0 ... size() - 1, which must all be there, to a temporary file beside `path` and renames it: `path`
  // holds everything or is untouched. Then the part file goes, so that the results take their space once.
  void publish(const std::string& path);

  size_t index_bytes() const;

 private:
  uint64_t& offset_slot(uint64_t row);

  // Offsets in chunks, so that growth copies and doubles nothing.
  static constexpr size_t kChunkRows = 1 << 16;
  std::vector<std::unique_ptr<uint64_t[]>> offsets_;  // [chunks][kChunkRows], offset + 1; 0: not there
  File part_;
  std::string buffer_;    // the end of the part file, not yet written
  uint64_t written_ = 0;  // bytes of the part file before the buffer
  uint64_t size_ = 0;
};

}  // namespace trireme

#include "job/result_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace trireme {

namespace {

constexpr size_t kBufferBytes = 1 << 20;

// Lines of a file at given offsets. Reads ahead: rows finish nearly in order, so the next line is mostly at hand.
class LineReader {
 public:
  explicit LineReader(const File& file) : file_(file) {}

  // With its end; valid until the next call.
  std::string_view line_at(uint64_t offset) {
    if (offset < start_ || offset >= start_ + buffer_.size()) load(offset, kAheadBytes);
    for (size_t want = kAheadBytes;; want *= 2) {
      std::string_view rest = std::string_view(buffer_).substr(offset - start_);
      if (size_t end = rest.find('\n'); end != rest.npos) return rest.substr(0, end + 1);
      size_t had = rest.size();
      load(offset, want + had);
      must(buffer_.size() > had, "every line of the part file has an end");
    }
  }

 private:
  static constexpr size_t kAheadBytes = 256 << 10;

  void load(uint64_t offset, size_t bytes) {
    buffer_.resize(bytes);
    buffer_.resize(file_.read_at(offset, buffer_));
    start_ = offset;
  }

  const File& file_;
  std::string buffer_;
  uint64_t start_ = 0;
};

}  // namespace

ResultStore::ResultStore(const std::string& part_path) : part_(File::create(part_path)) {}

uint64_t& ResultStore::offset_slot(uint64_t row) {
  while (row / kChunkRows >= offsets_.size()) offsets_.push_back(std::make_unique<uint64_t[]>(kChunkRows));
  return offsets_[row / kChunkRows][row % kChunkRows];
}

void ResultStore::append(uint64_t row, std::string_view line) {
  uint64_t& slot = offset_slot(row);
  must(slot == 0, "a row is stored once");
  must(line.find('\n') == line.npos, "a result is one line");
  slot = written_ + buffer_.size() + 1;
  buffer_ += line;
  buffer_ += '\n';
  size_++;
  if (buffer_.size() >= kBufferBytes) flush();
}

void ResultStore::flush() {
  part_.write(buffer_);
  written_ += buffer_.size();
  buffer_.clear();
}

void ResultStore::publish(const std::string& path) {
  flush();
  File out = File::create(path + ".tmp");
  LineReader lines(part_);
  std::string block;
  auto write_block = [&] {
    out.write(block);
    block.clear();
  };
  for (uint64_t row = 0; row < size_; row++) {
    uint64_t offset = offset_slot(row);
    must(offset != 0, "every row has a result when the output is written");
    block += lines.line_at(offset - 1);
    if (block.size() >= kBufferBytes) write_block();
  }
  write_block();
  publish_file(out, path);
  ::unlink(part_.path().c_str());  // what cannot be removed takes space, and is overwritten by the next run
  part_.close();
}

size_t ResultStore::index_bytes() const {
  return offsets_.size() * kChunkRows * sizeof(uint64_t) + offsets_.capacity() * sizeof(offsets_[0]);
}

}  // namespace trireme

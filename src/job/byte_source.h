#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace trireme {

// The bytes of an input file, decompressed as they are read when its magic bytes say gzip or Zstandard (several
// members or frames in a row are one stream). Holds two fixed buffers, whatever the file claims to expand to; a
// Zstandard window may be 128 MiB (`zstd --long`), no more.
class ByteSource {
 public:
  static std::unique_ptr<ByteSource> open(const std::string& path);
  virtual ~ByteSource() = default;

  // Bytes put into `into` (not empty); 0 only at the end. Throws Error(bad_data), naming the file and the byte of it,
  // where compressed data are cut off or damaged; what was good before has been returned by then.
  virtual size_t read(std::span<char> into) = 0;
};

}  // namespace trireme

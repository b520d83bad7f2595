#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trireme {

// XXH3-64, seed 0.
uint64_t xxh3(std::span<const std::byte> data);
uint64_t xxh3(std::string_view text);

// 16 lower-case hexadecimal digits, as digests are printed.
std::string hex16(uint64_t value);

// XXH3-64 (seed 0) of bytes that come in pieces. Owns its state; moves only.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(StreamHash&& other) noexcept : state_(other.state_) { other.state_ = nullptr; }
  StreamHash& operator=(StreamHash&& other) noexcept;

  void reset();
  void update(std::span<const std::byte> data);
  uint64_t digest() const;  // of all so far; more may follow

 private:
  void* state_;
};

}  // namespace trireme

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace trireme {

// Messages between ranks as plain bytes: little-endian numbers, strings after their length. All ranks run one build, so
// nothing is named or versioned; the reader still checks every length, and that the message ends where it should.
class WireWriter {
 public:
  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void put(T number) {
    auto bytes = std::as_bytes(std::span(&number, 1));
    data_.insert(data_.end(), bytes.begin(), bytes.end());
  }
  void put(std::string_view text) {
    put(static_cast<uint64_t>(text.size()));
    auto bytes = std::as_bytes(std::span(text));
    data_.insert(data_.end(), bytes.begin(), bytes.end());
  }
  void put(std::span<const std::byte> written) { data_.insert(data_.end(), written.begin(), written.end()); }
  size_t bytes() const { return data_.size(); }
  std::span<const std::byte> data() const { return data_; }

 private:
  std::vector<std::byte> data_;
};

class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> data) : data_(data) {}

  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) T get() {
    T number;
    std::memcpy(&number, take(sizeof number).data(), sizeof number);
    return number;
  }
  bool get_flag() {
    auto flag = get<uint8_t>();
    must(flag <= 1, "a flag in a message is 0 or 1");
    return flag == 1;
  }
  std::string get_string() {
    auto bytes = take(get<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // How many items of at least `least_bytes` each follow: no more than the rest of the message can hold.
  uint64_t get_count(size_t least_bytes) {
    auto count = get<uint64_t>();
    must(count <= data_.size() / least_bytes, "a count in a message fits its length");
    return count;
  }
  void finish() const { must(data_.empty(), "a message ends after its last field"); }

 private:
  std::span<const std::byte> take(uint64_t bytes) {
    must(bytes <= data_.size(), "a message holds all its fields");
    auto taken = data_.first(bytes);
    data_ = data_.subspan(bytes);
    return taken;
  }

  std::span<const std::byte> data_;
};

}  // namespace trireme

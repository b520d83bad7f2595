#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"

namespace trireme {

// Messages between ranks as plain bytes: values in the machine's own order, text and vectors after their length. All
// ranks run one build, so nothing is named or versioned; the reader still checks every length, and that the message
// ends where it should.
class WireWriter {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) { append(std::as_bytes(std::span(&value, 1))); }
  void put(std::string_view text) {
    put(uint64_t{text.size()});
    append(std::as_bytes(std::span(text)));
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const std::vector<T>& values) {
    put(uint64_t{values.size()});
    append(std::as_bytes(std::span(values)));
  }
  void append(std::span<const std::byte> written) { data_.insert(data_.end(), written.begin(), written.end()); }

  std::span<const std::byte> data() const { return data_; }
  std::vector<std::byte> take() { return std::move(data_); }

 private:
  std::vector<std::byte> data_;
};

// Reads what a WireWriter wrote. Throws Error(internal) when the message is not what it announces.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> data) : data_(data) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void get(T& value) { std::memcpy(&value, take(sizeof value).data(), sizeof value); }
  template <typename T>
  requires std::is_trivially_copyable_v<T> T get() {
    T value{};
    get(value);
    return value;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void get(std::vector<T>& values) {
    values.resize(get_count(sizeof(T)));
    auto bytes = take(values.size() * sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  void get(std::string& text) {
    auto bytes = take(get<uint64_t>());
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  bool get_flag() {
    auto flag = get<uint8_t>();
    must(flag <= 1, "a flag in a message is 0 or 1");
    return flag == 1;
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

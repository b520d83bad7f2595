#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace trireme {

// Messages between ranks of one job: plain values in the machine's own order, vectors and strings with their length.
class ByteWriter {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof(T));
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const std::vector<T>& values) {
    put(static_cast<uint64_t>(values.size()));
    const auto* p = reinterpret_cast<const std::byte*>(values.data());
    bytes_.insert(bytes_.end(), p, p + values.size() * sizeof(T));
  }
  void put(const std::string& text) {
    put(static_cast<uint64_t>(text.size()));
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), p, p + text.size());
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Reads what ByteWriter wrote; throws Error(internal) when a message is too short for what it claims.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void get(T& value) { std::memcpy(&value, take(sizeof(T)), sizeof(T)); }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void get(std::vector<T>& values) {
    uint64_t count = get_count(sizeof(T));
    values.resize(count);
    if (count) std::memcpy(values.data(), take(count * sizeof(T)), count * sizeof(T));
  }
  void get(std::string& text) {
    uint64_t count = get_count(1);
    text.assign(reinterpret_cast<const char*>(take(count)), count);
  }
  template <typename T>
  T get() {
    T value{};
    get(value);
    return value;
  }
  // A number of elements that follow, each of at least `element_bytes`.
  uint64_t get_count(size_t element_bytes) {
    auto count = get<uint64_t>();
    must(count <= rest_.size() / element_bytes, "a message between ranks holds what it announces");
    return count;
  }
  bool done() const { return rest_.empty(); }

 private:
  const std::byte* take(size_t count) {
    must(count <= rest_.size(), "a message between ranks is whole");
    const std::byte* p = rest_.data();
    rest_ = rest_.subspan(count);
    return p;
  }
  std::span<const std::byte> rest_;
};

}  // namespace trireme

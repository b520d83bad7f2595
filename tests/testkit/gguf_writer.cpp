#include "testkit/gguf_writer.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace trireme::testkit {

namespace {

constexpr size_t kAlignment = 32;

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string string_of(std::string_view text) { return bytes_of(uint64_t{text.size()}) + std::string(text); }

}  // namespace

GgufWriter& GgufWriter::raw(std::string_view key, uint32_t type, std::string_view bytes) {
  keys_.push_back({std::string(key), type, std::string(bytes)});
  return *this;
}
GgufWriter& GgufWriter::text(std::string_view key, std::string_view value) { return raw(key, 8, string_of(value)); }
GgufWriter& GgufWriter::u32(std::string_view key, uint32_t value) { return raw(key, 4, bytes_of(value)); }
GgufWriter& GgufWriter::f32(std::string_view key, float value) { return raw(key, 6, bytes_of(value)); }
GgufWriter& GgufWriter::boolean(std::string_view key, bool value) { return raw(key, 7, bytes_of(uint8_t{value})); }
GgufWriter& GgufWriter::texts(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = bytes_of(uint32_t{8}) + bytes_of(uint64_t{values.size()});
  for (const std::string& v : values) bytes += string_of(v);
  return raw(key, 9, bytes);
}
GgufWriter& GgufWriter::i32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string bytes = bytes_of(uint32_t{5}) + bytes_of(uint64_t{values.size()});
  for (int32_t v : values) bytes += bytes_of(v);
  return raw(key, 9, bytes);
}
GgufWriter& GgufWriter::f32s(std::string_view key, const std::vector<float>& values) {
  std::string bytes = bytes_of(uint32_t{6}) + bytes_of(uint64_t{values.size()});
  for (float v : values) bytes += bytes_of(v);
  return raw(key, 9, bytes);
}

GgufWriter& GgufWriter::tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                               std::string data) {
  tensors_.push_back({std::string(name), dims, type, std::move(data)});
  return *this;
}

std::string GgufWriter::build() {
  std::string file;
  marks_.clear();
  auto put = [&](const std::string& what, const std::string& bytes) {
    marks_.push_back({what, file.size(), file.size() + bytes.size()});
    file += bytes;
  };
  put("magic", "GGUF");
  put("version", bytes_of(version_));
  put("tensor_count", bytes_of(uint64_t{tensors_.size()}));
  put("key_count", bytes_of(uint64_t{keys_.size()}));
  for (const Key& k : keys_) {
    put("key:" + k.name, string_of(k.name));
    put("type:" + k.name, bytes_of(k.type));
    put("value:" + k.name, k.bytes);
  }
  uint64_t offset = 0;
  for (const Tensor& t : tensors_) {
    put("name:" + t.name, string_of(t.name));
    put("dimensions:" + t.name, bytes_of(static_cast<uint32_t>(t.dims.size())));
    for (uint64_t d : t.dims) put("dimension:" + t.name, bytes_of(d));
    put("ggml_type:" + t.name, bytes_of(t.type));
    put("offset:" + t.name, bytes_of(offset));
    offset += (t.data.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  auto pad = [&file] { file.resize((file.size() + kAlignment - 1) / kAlignment * kAlignment, '\0'); };
  pad();
  for (const Tensor& t : tensors_) {
    file += t.data;
    pad();
  }
  return file;
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

}  // namespace trireme::testkit

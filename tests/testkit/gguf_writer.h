#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::testkit {

// Builds a GGUF file in memory, field by field. Nothing is checked: hostile files are made with it as well. Where
// fields begin and end is kept, so that a test can damage one on purpose.
class GgufWriter {
 public:
  struct Mark {
    std::string what;   // "value:llama.block_count"
    size_t begin, end;  // bytes
  };

  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  // Metadata, in order.
  GgufWriter& text(std::string_view key, std::string_view value);
  GgufWriter& u32(std::string_view key, uint32_t value);
  GgufWriter& f32(std::string_view key, float value);
  GgufWriter& boolean(std::string_view key, bool value);
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& values);
  GgufWriter& i32s(std::string_view key, const std::vector<int32_t>& values);
  GgufWriter& f32s(std::string_view key, const std::vector<float>& values);
  GgufWriter& raw(std::string_view key, uint32_t type, std::string_view bytes);  // any value, as bytes

  // dims: columns first, as GGUF has them. type: ggml's id.
  GgufWriter& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, std::string data);

  std::string build();                                       // the file's bytes
  const std::vector<Mark>& marks() const { return marks_; }  // of the header, after build()

 private:
  struct Key {
    std::string name;
    uint32_t type;
    std::string bytes;
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type;
    std::string data;
  };
  uint32_t version_;
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
  std::vector<Mark> marks_;
};

void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

}  // namespace trireme::testkit

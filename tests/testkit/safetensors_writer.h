#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::testkit {

// Writes safetensors files, good ones and bad ones.
class SafetensorsWriter {
 public:
  // shape: outermost first; data: the stored bytes.
  SafetensorsWriter& tensor(std::string_view name, std::string_view type, const std::vector<int64_t>& shape,
                            std::string data);
  std::string build() const;  // tensors one after another, in the order of the calls

 private:
  std::string header_, data_;
};

// A file of any header text: its length, the text, the data.
std::string safetensors_file(std::string_view header, std::string_view data);

}  // namespace trireme::testkit

#include "testkit/safetensors_writer.h"

#include <fmt/format.h>

namespace trireme::testkit {

SafetensorsWriter& SafetensorsWriter::tensor(std::string_view name, std::string_view type,
                                             const std::vector<int64_t>& shape, std::string data) {
  header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", header_.empty() ? "" : ",",
                         name, type, fmt::join(shape, ","), data_.size(), data_.size() + data.size());
  data_ += data;
  return *this;
}

std::string SafetensorsWriter::build() const {
  return safetensors_file(
      fmt::format(R"({{"__metadata__":{{"format":"pt"}}{}{}}})", header_.empty() ? "" : ",", header_), data_);
}

std::string safetensors_file(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return file.append(header).append(data);
}

}  // namespace trireme::testkit

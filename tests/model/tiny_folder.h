#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "testkit/temp_folder.h"

namespace trireme::testkit {

// A random llama as a Hugging Face folder, every tensor of any element type, in any order and number of shards.
struct TinyFolder {
  struct Tensor {
    std::string type;  // F32, F16, BF16, ...
    std::vector<int64_t> shape;
    std::string bytes;
    std::vector<float> values() const;  // of the three float types
  };

  // The model of testkit::TinyModel's default shape, with the given types in turn: for the first tensor, the second...
  explicit TinyFolder(const std::vector<std::string>& types = {"BF16"}, int64_t hidden = 144,
                      int64_t intermediate = 200);
  void put(const std::string& name, const std::string& type, const std::vector<int64_t>& shape);  // random values
  // shuffle: an order of the tensors in the files, other for other numbers.
  void write(const TempFolder& folder, int shards = 1, unsigned shuffle = 0) const;

  nlohmann::json config, generation, tokenizer_config;  // null: no such file
  std::string tokenizer_json;
  std::map<std::string, Tensor> tensors;
};

}  // namespace trireme::testkit

#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/block_type.h"
#include "checkpoint/input_file.h"

namespace trireme {

// A tensor of a source: `rows` rows (all outer dimensions multiplied; 1 for a vector) of `columns` values, one row
// after another at `offset`.
struct SourceTensor {
  std::string name;
  std::string type_name;            // as the source spells it
  const BlockType* type = nullptr;  // null: not a type that can be converted
  int64_t rows = 0, columns = 0;
  const InputFile* file = nullptr;  // of the source
  uint64_t offset = 0;              // in the file
  uint64_t row_bytes = 0;
};

// A model as somebody brought it, a GGUF file or a Hugging Face folder, in the terms that both have in common: what the
// importer (model/import.h) and the text commands need. Owns the open files; weights stay in them. Moves only.
struct ModelSource {
  enum class Kind : uint8_t { gguf, folder };
  enum class Weights : uint8_t { no, yes };  // no: for commands that only handle text; `tensors` stays empty

  // Throws Error(bad_data) naming file and field; Error(no_input) when there is nothing at `path`. follow_links: files
  // of a folder may be links to anywhere.
  static ModelSource open(const std::string& path, Weights weights = Weights::yes, bool follow_links = false);

  Kind kind = Kind::folder;
  std::string path;
  nlohmann::json config;       // as transformers' config.json, with what the tokenizer and generation_config.json
                               // say of bos_token_id, eos_token_id (a list) and add_bos_token
  std::string tokenizer_json;  // Hugging Face format
  std::string chat_template;   // "" if none
  nlohmann::json generation;   // generation_config.json; {} if none
  std::vector<SourceTensor> tensors;
  std::vector<std::string> files;  // all that were read, for telling later whether one has changed

  const SourceTensor* find(std::string_view name) const;
  uint64_t weight_bytes() const;
  // Whether a tensor that no part of the model uses may be left out without changing results.
  bool without_effect(const SourceTensor& tensor) const;

  void add_tensor(SourceTensor tensor);
  std::deque<InputFile> inputs;  // owned; addresses stay

 private:
  std::unordered_map<std::string, size_t> by_name_;
};

// The two makers behind open().
ModelSource gguf_source(const std::string& path, ModelSource::Weights weights);
ModelSource folder_source(const std::string& folder, ModelSource::Weights weights, bool follow_links);
// Whether `path` is a folder, or a file in GGUF: what open() takes, or a safetensors file, which it refuses in words.
bool is_model_source(const std::string& path);

}  // namespace trireme

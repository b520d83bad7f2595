#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "model/folder_tokenizer.h"
#include "model/model_source.h"

namespace trireme {

namespace fs = std::filesystem;

namespace {

using nlohmann::json;

// The element types of a folder that can be converted. Packed weights (AWQ, GPTQ, FP8) come as several tensors of other
// types for each matrix: they will join here, as slots that are made of more than one tensor.
struct Element {
  std::string_view name;
  uint32_t block_type;  // ggml's id of the same type (checkpoint/block_type.h)
};
constexpr Element kElements[] = {{"F32", 0}, {"F16", 1}, {"BF16", 30}};

const BlockType* element_type(std::string_view name) {
  for (const Element& e : kElements)
    if (e.name == name) return find_block_type(e.block_type);
  return nullptr;
}

json read_config(const std::string& folder, bool follow_links, std::vector<std::string>* files) {
  auto there = [&](const char* name) { return is_there((fs::path(folder) / name).string()); };
  if (there("adapter_config.json"))
    fail(ExitCode::bad_data,
         "{} has an adapter_config.json: adapters (LoRA) are not read; merge it into its base model and save that",
         folder);
  const std::string path = (fs::path(folder) / "config.json").string();
  if (!there("config.json"))
    fail(ExitCode::bad_data, "{} has no config.json; give a Hugging Face folder, a GGUF file or a checkpoint (.h5)",
         folder);
  files->push_back(check_link(path, follow_links));
  json config = read_json_file(path);
  for (const char* field : {"quantization_config", "compression_config"}) {
    auto found = config.find(field);
    if (found == config.end() || found->is_null()) continue;
    const json method = found->is_object() ? found->value("quant_method", json("unnamed")) : json("unnamed");
    fail(
        ExitCode::bad_data,
        "{}: {} says that the weights are {}, which this version does not read; take the unquantized folder (F32, F16, "
        "BF16; convert --dtype int4 or int8 makes it small) or a GGUF file",
        path, field, method.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60));
  }
  return config;
}

json read_generation(const std::string& folder, bool follow_links, std::vector<std::string>* files) {
  const std::string path = (fs::path(folder) / "generation_config.json").string();
  if (!is_there(path)) return json::object();
  files->push_back(check_link(path, follow_links));
  return read_json_file(path);
}

// Which tokens begin and end a text. As transformers: generation_config.json wins over config.json. The tokenizer's own
// eos_token comes first when it is among them, since templates see the first one's text.
void merge_special_tokens(json& config, const json& generation, const FolderTokenizer& tokenizer) {
  auto given = [](const json& object, const char* field) {
    auto found = object.find(field);
    return found == object.end() || found->is_null() ? json() : *found;
  };
  json ids = given(generation, "eos_token_id");
  if (ids.is_null()) ids = given(config, "eos_token_id");
  if (ids.is_null() && tokenizer.eos_id >= 0) ids = tokenizer.eos_id;
  if (!ids.is_null() && !ids.is_array()) ids = json::array({ids});
  if (ids.is_array()) {
    auto own = std::find(ids.begin(), ids.end(), json(tokenizer.eos_id));
    if (own != ids.end()) std::rotate(ids.begin(), own, own + 1);
    config["eos_token_id"] = ids;
  }
  if (tokenizer.bos_id >= 0)
    config["bos_token_id"] = tokenizer.bos_id;
  else if (tokenizer.named)
    config.erase("bos_token_id");
  config["add_bos_token"] = tokenizer.adds_bos;
}

void add_weights(ModelSource& source, bool follow_links) {
  for (Safetensors& file : open_safetensors(source.path, follow_links)) {
    source.files.push_back(file.path());
    source.inputs.emplace_back(file.path());
    for (const SafetensorsTensor& t : file.tensors()) {
      SourceTensor tensor{t.name, t.type, element_type(t.type)};
      tensor.rows = tensor.columns = 1;
      if (!t.shape.empty()) tensor.columns = t.shape.back();
      for (size_t i = 0; i + 1 < t.shape.size(); i++) tensor.rows *= t.shape[i];  // checked: less than the bytes
      if (t.bytes == 0) tensor.rows = 0;
      tensor.file = &source.inputs.back();
      tensor.offset = t.offset;
      tensor.row_bytes = tensor.rows > 0 ? t.bytes / static_cast<uint64_t>(tensor.rows) : 0;
      source.add_tensor(std::move(tensor));
    }
  }
  std::error_code error;
  const fs::path index = fs::path(source.path) / "model.safetensors.index.json";
  if (fs::exists(index, error)) source.files.push_back(index.string());
}

}  // namespace

ModelSource folder_source(const std::string& folder, ModelSource::Weights weights, bool follow_links) {
  ModelSource source;
  source.path = folder;
  source.config = read_config(folder, follow_links, &source.files);
  source.generation = read_generation(folder, follow_links, &source.files);
  FolderTokenizer tokenizer = FolderTokenizer::read(folder, follow_links, &source.files);
  merge_special_tokens(source.config, source.generation, tokenizer);
  source.tokenizer_json = std::move(tokenizer.tokenizer_json);
  source.chat_template = std::move(tokenizer.chat_template);
  if (weights == ModelSource::Weights::yes) add_weights(source, follow_links);
  return source;
}

}  // namespace trireme

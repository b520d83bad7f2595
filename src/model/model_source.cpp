#include "model/model_source.h"

#include <filesystem>

#include "base/error.h"
#include "checkpoint/gguf.h"

namespace trireme {

namespace fs = std::filesystem;

bool is_model_source(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) || Gguf::is_gguf(path) || path.ends_with(".safetensors");
}

ModelSource ModelSource::open(const std::string& path, Weights weights, bool follow_links) {
  std::error_code error;
  if (!fs::exists(path, error))
    fail(ExitCode::no_input, "there is no model '{}' ({}); check the path", path,
         error ? error.message() : "no such file");
  if (fs::is_directory(path, error)) return folder_source(path, weights, follow_links);
  if (path.ends_with(".safetensors"))
    fail(ExitCode::bad_data, "{} is one file of a model; give its folder, with config.json and tokenizer.json in it",
         path);
  if (path.ends_with(".h5"))
    fail(ExitCode::bad_data, "{} is a checkpoint already; give the GGUF file or folder that it was made from", path);
  if (!Gguf::is_gguf(path))
    fail(ExitCode::bad_data, "{} is neither a GGUF file nor a Hugging Face folder; check the path", path);
  return gguf_source(path, weights);
}

void ModelSource::add_tensor(SourceTensor tensor) {
  by_name_.emplace(tensor.name, tensors.size());
  tensors.push_back(std::move(tensor));
}

const SourceTensor* ModelSource::find(std::string_view name) const {
  auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : &tensors[found->second];
}

uint64_t ModelSource::weight_bytes() const {
  uint64_t bytes = 0;
  for (const SourceTensor& t : tensors) bytes += t.row_bytes * static_cast<uint64_t>(t.rows);
  return bytes;
}

// Rotary tables that old versions of transformers stored are computed anew here; those of a GGUF file are in `config`.
bool ModelSource::without_effect(const SourceTensor& tensor) const {
  const std::string_view name = tensor.name;
  if (kind == Kind::gguf)
    return name == "rope_freqs.weight" || name == "rope_factors_long.weight" || name == "rope_factors_short.weight";
  return name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace trireme

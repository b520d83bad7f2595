#include <map>
#include <nlohmann/json.hpp>

#include "checkpoint/gguf.h"
#include "model/gguf_config.h"
#include "model/gguf_tokenizer.h"
#include "model/model_source.h"

namespace trireme {

ModelSource gguf_source(const std::string& path, ModelSource::Weights weights) {
  Gguf gguf(path);
  ModelSource source;
  source.kind = ModelSource::Kind::gguf;
  source.path = path;
  for (const InputFile& file : gguf.files()) source.files.push_back(file.path());
  source.config = gguf_config_json(gguf);
  source.tokenizer_json = gguf_tokenizer_json(gguf);
  if (const std::string* text = gguf.find<std::string>("tokenizer.chat_template")) source.chat_template = *text;
  source.generation = nlohmann::json::object();
  if (weights == ModelSource::Weights::no) return source;
  std::map<const InputFile*, const InputFile*> own;
  for (const InputFile& file : gguf.files()) own[&file] = &source.inputs.emplace_back(file.path());
  for (const GgufTensor& t : gguf.tensors())
    source.add_tensor(
        {t.name, std::string(t.type->name), t.type, t.rows, t.columns, own.at(t.file), t.offset, t.row_bytes});
  return source;
}

}  // namespace trireme

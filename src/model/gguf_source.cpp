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
  source.files = {path};
  source.config = gguf_config_json(gguf);
  source.config["add_bos_token"] = gguf_adds_bos(gguf);
  source.tokenizer_json = gguf_tokenizer_json(gguf);
  if (const std::string* text = gguf.find<std::string>("tokenizer.chat_template")) source.chat_template = *text;
  source.generation = nlohmann::json::object();
  if (weights == ModelSource::Weights::no) return source;
  source.inputs.emplace_back(path);
  for (const GgufTensor& t : gguf.tensors())
    source.add_tensor(
        {t.name, std::string(t.type->name), t.type, t.rows, t.columns, &source.inputs.front(), t.offset, t.row_bytes});
  return source;
}

}  // namespace trireme

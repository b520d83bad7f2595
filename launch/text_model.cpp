#include "launch/text_model.h"

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "model/gguf_tokenizer.h"
#include "model/import_gguf.h"

namespace trireme {

namespace {

std::optional<ChatTemplate> template_of(const std::string& source) {
  if (source.empty()) return std::nullopt;
  return ChatTemplate(source);
}

TextModel from_gguf(const std::string& path) {
  Gguf gguf(path);
  const std::string* source = gguf.find<std::string>("tokenizer.chat_template");
  return {GgufModel(gguf).config, Tokenizer(gguf_tokenizer_json(gguf)), template_of(source ? *source : "")};
}

TextModel from_checkpoint(const std::string& path) {
  Checkpoint checkpoint(path);
  return {ModelConfig::from_json(checkpoint.config(), path), Tokenizer(checkpoint.read_blob("tokenizer.json")),
          template_of(checkpoint.read_blob("chat_template.jinja"))};
}

}  // namespace

TextModel TextModel::open(const std::string& path) {
  if (path.empty()) fail(ExitCode::usage, "no model was given; add -m MODEL");
  return Gguf::is_gguf(path) ? from_gguf(path) : from_checkpoint(path);
}

}  // namespace trireme

#include "launch/text_model.h"

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/model_source.h"
#include "model/transformers_config.h"

namespace trireme {

namespace {

std::optional<ChatTemplate> template_of(const std::string& source) {
  if (source.empty()) return std::nullopt;
  return ChatTemplate(source);
}

TextModel from_source(const std::string& path) {
  const ModelSource source = ModelSource::open(path, ModelSource::Weights::no);
  return {config_from_transformers(source.config, path), Tokenizer(source.tokenizer_json),
          template_of(source.chat_template)};
}

TextModel from_checkpoint(const std::string& path) {
  Checkpoint checkpoint(path);
  return {ModelConfig::from_json(checkpoint.config(), path), Tokenizer(checkpoint.read_blob("tokenizer.json")),
          template_of(checkpoint.read_blob("chat_template.jinja"))};
}

}  // namespace

TextModel TextModel::open(const std::string& path) {
  if (path.empty()) fail(ExitCode::usage, "no model was given; add -m MODEL");
  return is_model_source(path) ? from_source(path) : from_checkpoint(path);
}

}  // namespace trireme

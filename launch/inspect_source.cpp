#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "launch/inspect.h"
#include "model/model_source.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

uint64_t bytes_of(const SourceTensor& t) { return t.row_bytes * static_cast<uint64_t>(t.rows); }
std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

int inspect_folder(const Options& options) {
  const ModelSource source = ModelSource::open(options.input);
  if (options.json) {
    ordered_json all = {{"path", options.input},
                        {"kind", "folder"},
                        {"bytes", source.weight_bytes()},
                        {"config", source.config},
                        {"generation_config", source.generation}};
    for (const std::string& file : source.files) all["files"].push_back(file_name(file));
    for (const SourceTensor& t : source.tensors)
      all["tensors"].push_back({{"name", t.name},
                                {"rows", t.rows},
                                {"columns", t.columns},
                                {"type", t.type_name},
                                {"file", file_name(t.file->path())},
                                {"offset", t.offset},
                                {"bytes", bytes_of(t)}});
    fmt::print("{}\n", all.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    return 0;
  }
  fmt::print("{}: Hugging Face folder, {} tensors in {} file{}, {} bytes of weights\n", options.input,
             source.tensors.size(), source.inputs.size(), source.inputs.size() == 1 ? "" : "s", source.weight_bytes());
  fmt::print("config {}\n", source.config.dump(2));
  fmt::print("chat template {} bytes, tokenizer.json {} bytes\n", source.chat_template.size(),
             source.tokenizer_json.size());
  fmt::print("{:<48} {:>14}  {:<8} {:>12} {:>12}  {}\n", "tensor", "shape", "type", "offset", "bytes", "file");
  for (const SourceTensor& t : source.tensors)
    fmt::print("{:<48} {:>14}  {:<8} {:>12} {:>12}  {}\n", t.name, fmt::format("{} x {}", t.rows, t.columns),
               t.type_name, t.offset, bytes_of(t), file_name(t.file->path()));
  return 0;
}

}  // namespace trireme

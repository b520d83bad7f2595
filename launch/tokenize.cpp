#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "launch/commands.h"
#include "launch/json_lines.h"
#include "launch/text_model.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

std::vector<int32_t> encode(const TextModel& model, const Options& options, std::string_view text) {
  std::vector<int32_t> ids = model.tokenizer.encode(text, options.special == "parse");
  if (!options.bos) return ids;
  const int32_t bos = model.config.bos_token_id;
  if (bos < 0) fail(ExitCode::usage, "--bos: the model '{}' has no begin-of-text token", options.model);
  // Once, though a parsed text may write it itself.
  if (ids.empty() || ids.front() != bos) ids.insert(ids.begin(), bos);
  return ids;
}

std::string decode(const TextModel& model, const ordered_json& ids, const std::string& where) {
  std::vector<int32_t> tokens;
  for (const ordered_json& id : ids) {
    bool known = id.is_number_integer() && id >= 0 && id < model.tokenizer.vocab_size();
    if (!known)
      fail(ExitCode::bad_data, "{}: token_ids holds {}; ids are whole numbers from 0 to {}", where, id.dump(),
           model.tokenizer.vocab_size() - 1);
    tokens.push_back(id.get<int32_t>());
  }
  return model.tokenizer.decode(tokens, false);
}

}  // namespace

int tokenize_command(const Options& options, const Environment&) {
  TextModel model = TextModel::open(options.model);
  if (options.given("text")) {
    ordered_json line = {{"text", options.text}, {"token_ids", encode(model, options, options.text)}};
    fmt::print("{}\n", line.dump());
    return 0;
  }
  for_each_json_line(options.input, [&](int64_t number, ordered_json& line) {
    std::string where = fmt::format("line {}", number);
    bool has_text = line.contains("text") && line["text"].is_string(),
         has_ids = line.contains("token_ids") && line["token_ids"].is_array();
    if (has_text == has_ids)
      fail(ExitCode::bad_data, "{}: it needs either \"text\" (a string) or \"token_ids\" (a list)", where);
    if (has_text)
      line["token_ids"] = encode(model, options, line["text"].get<std::string>());
    else
      line["text"] = decode(model, line["token_ids"], where);
    fmt::print("{}\n", line.dump());
  });
  return 0;
}

}  // namespace trireme

#include <fmt/format.h>

#include "base/error.h"
#include "job/prepare.h"
#include "launch/commands.h"
#include "launch/json_lines.h"
#include "launch/text_model.h"

namespace trireme {

using nlohmann::ordered_json;

int render_command(const Options& options, const Environment&) {
  TextModel model = TextModel::open(options.model);
  PrepareOptions texts{
      text_or_file(options.system, "--system"), text_or_file(options.instruction, "--instruction"), {}};
  Preparer preparer(model.config, model.tokenizer, model.chat_template ? &*model.chat_template : nullptr, texts);
  for_each_json_line(options.input, [&](int64_t number, ordered_json& line) {
    bool has_messages = line.contains("messages") && line["messages"].is_array();
    bool has_text = line.contains("text") && line["text"].is_string();
    if (has_messages == has_text)
      fail(ExitCode::bad_data, "line {}: it needs either \"messages\" (a list) or \"text\" (a string)", number);
    auto pieces =
        preparer.render(has_messages ? line["messages"] : preparer.messages_for(line["text"].get<std::string>()));
    std::string prompt;
    for (const TextPiece& piece : pieces) prompt += piece.text;
    line["prompt"] = prompt;
    line["token_ids"] = model.tokenizer.encode(pieces);
    fmt::print("{}\n", line.dump());
  });
  return 0;
}

}  // namespace trireme

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "job/prepare.h"
#include "job/progress.h"
#include "launch/commands.h"
#include "launch/json_lines.h"
#include "launch/text_model.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

// What a line says to the template besides its messages. What stands for special tokens is the model's alone.
ordered_json template_variables(const ordered_json& line, int64_t number) {
  ordered_json variables = ordered_json::object();
  for (const char* name : {"tools", "documents", "add_generation_prompt"})
    if (line.contains(name)) variables[name] = line[name];
  const ordered_json others = line.value("chat_template_kwargs", ordered_json::object());
  if (!others.is_object())
    fail(ExitCode::bad_data, "line {}: \"chat_template_kwargs\" is {}, expected an object", number, others.type_name());
  for (const auto& [name, value] : others.items()) {
    if (name == "messages" || name.ends_with("_token"))
      fail(ExitCode::bad_data, "line {}: \"chat_template_kwargs\" may not set \"{}\"; leave it out", number, name);
    variables[name] = value;
  }
  return variables;
}

// Adds "prompt" and "token_ids" to a line with messages, or with a text for the template.
void render_line(const Preparer& preparer, const Tokenizer& tokenizer, ordered_json& line, int64_t number) {
  const ordered_json messages = line.contains("messages") && line["messages"].is_array()
                                    ? line["messages"]
                                    : preparer.messages_for(line["text"].get<std::string>());
  const ordered_json variables = template_variables(line, number);
  const auto pieces = [&] {
    try {
      return preparer.render(messages, variables);
    } catch (const Error& error) {
      fail(error.code(), "line {}: {}", number, error.what());
    }
  }();
  std::string prompt;
  for (const TextPiece& piece : pieces) prompt += piece.text;
  line["prompt"] = prompt;
  line["token_ids"] = tokenizer.encode(pieces);
}

}  // namespace

int render_command(const Options& options, const Environment&) {
  TextModel model = TextModel::open(options.model);
  const Options read = with_texts(options);
  PrepareOptions texts{read.system, read.instruction, {}, utc_time(time(nullptr)).substr(0, 10)};
  Preparer preparer(model.config, model.tokenizer, model.chat_template ? &*model.chat_template : nullptr, texts);
  for_each_json_line(options.input, [&](int64_t number, ordered_json& line) {
    bool has_messages = line.contains("messages") && line["messages"].is_array();
    bool has_text = line.contains("text") && line["text"].is_string();
    if (has_messages == has_text)
      fail(ExitCode::bad_data, "line {}: it needs either \"messages\" (a list) or \"text\" (a string)", number);
    if (has_text && !model.chat_template) {
      line["prompt"] = preparer.plain_prompt(line["text"].get<std::string>());
      line["token_ids"] = preparer.tokens_of_prompt(line["prompt"].get<std::string>());
    } else {
      render_line(preparer, model.tokenizer, line, number);
    }
    fmt::print("{}\n", line.dump());
  });
  return 0;
}

}  // namespace trireme

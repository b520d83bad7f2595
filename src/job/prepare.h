#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "engine/request.h"
#include "job/document.h"
#include "model/config.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme {

struct PrepareOptions {
  std::string system;       // "" = none
  std::string instruction;  // "" = none
  SamplingParams sampling;  // what a row does not override
  std::string date;         // "2026-11-27", what strftime_now() of a template tells; "" = it may not ask
};

// Documents to requests for one model: template, tokens, sampling, and the checks that need the model.
class Preparer {
 public:
  // chat_template: null when the model has none. All but the options must outlive this.
  Preparer(const ModelConfig& config, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
           PrepareOptions options)
      : config_(config), tokenizer_(tokenizer), template_(chat_template), options_(std::move(options)) {}

  std::variant<Request, RowError> prepare(const Document& document) const;

  // What a "text" document stands for: a conversation, or without a template a plain prompt; and how any conversation
  // is rendered (trireme render).
  nlohmann::ordered_json messages_for(std::string_view text) const;
  std::string plain_prompt(std::string_view text) const;
  // variables: what the template may use besides ("tools", "add_generation_prompt" ...); they replace the usual ones.
  // Throws Error(bad_data).
  std::vector<TextPiece> render(const nlohmann::ordered_json& messages,
                                const nlohmann::ordered_json& variables = nlohmann::ordered_json::object()) const;
  // The ids of a plain prompt, BOS first where the model wants it.
  std::vector<int32_t> tokens_of_prompt(std::string_view prompt) const;

 private:
  std::vector<int32_t> tokens_of(const Document& document) const;
  std::vector<int32_t> tokens_of_chat(const nlohmann::ordered_json& messages) const;
  void check(const std::vector<int32_t>& prompt) const;

  const ModelConfig& config_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  PrepareOptions options_;
};

}  // namespace trireme

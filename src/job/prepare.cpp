#include "job/prepare.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "job/messages.h"

namespace trireme {

namespace {

// Why a document cannot be a request; becomes a RowError.
struct Unfit {
  std::string code;
  std::string message;
};

// What the text of one document makes impossible is that document's fault alone.
template <typename Work>
auto or_unfit(const char* code, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_data) throw;
    throw Unfit{code, error.what()};
  }
}

// The parts that are not empty, a blank line between them.
std::string join_paragraphs(std::initializer_list<std::string_view> parts) {
  std::string joined;
  for (std::string_view part : parts) {
    if (part.empty()) continue;
    if (!joined.empty()) joined += "\n\n";
    joined += part;
  }
  return joined;
}

}  // namespace

nlohmann::ordered_json Preparer::messages_for(std::string_view text) const {
  auto messages = nlohmann::ordered_json::array();
  auto add = [&](const char* role, std::string content) {
    messages.push_back(nlohmann::ordered_json{{"role", role}, {"content", std::move(content)}});
  };
  if (!options_.system.empty()) add("system", options_.system);
  add("user", join_paragraphs({options_.instruction, text}));
  return messages;
}

std::vector<TextPiece> Preparer::render(const nlohmann::ordered_json& messages,
                                        const nlohmann::ordered_json& others) const {
  if (!template_) fail(ExitCode::bad_data, "the model has no chat template; give text or prompt instead of messages");
  auto token = [&](int32_t id) { return id >= 0 ? tokenizer_.token_bytes(id) : std::string(); };
  nlohmann::ordered_json variables;
  variables["messages"] = messages;
  variables["tools"] = nullptr;  // defined and none, as in transformers
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = true;
  variables["bos_token"] = token(config_.bos_token_id);
  variables["eos_token"] = token(config_.eos_token_ids.empty() ? -1 : config_.eos_token_ids.front());
  if (!options_.date.empty()) variables["frozen_now"] = options_.date;
  variables.update(others);
  return template_->render(variables);
}

// The template may refuse a conversation (roles that do not alternate).
std::vector<int32_t> Preparer::tokens_of_chat(const nlohmann::ordered_json& messages) const {
  if (!template_) throw Unfit{"unsupported", "the model has no chat template; give text or prompt instead of messages"};
  const auto pieces = or_unfit("template_error", [&] { return render(messages); });
  return or_unfit("no_token", [&] { return tokenizer_.encode(pieces); });
}

std::string Preparer::plain_prompt(std::string_view text) const {
  return join_paragraphs({options_.system, options_.instruction, text}) + "\n\n";
}

std::vector<int32_t> Preparer::tokens_of_prompt(std::string_view prompt) const {
  std::vector<int32_t> tokens;
  if (config_.add_bos && config_.bos_token_id >= 0) tokens.push_back(config_.bos_token_id);
  // Untrusted: what looks like a special token is text.
  auto rest = or_unfit("no_token", [&] { return tokenizer_.encode(prompt); });
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  return tokens;
}

std::vector<int32_t> Preparer::tokens_of(const Document& document) const {
  switch (document.kind) {
    case ContentKind::text:
      if (!template_) return tokens_of_prompt(plain_prompt(document.content));
      return tokens_of_chat(messages_for(document.content));
    case ContentKind::prompt:
      return tokens_of_prompt(document.content);
    case ContentKind::messages:
      return tokens_of_chat(parse_messages(document.content));
    case ContentKind::token_ids:
      return document.token_ids;
  }
  fail(ExitCode::internal, "internal error: a document of unknown kind");
}

void Preparer::check(const std::vector<int32_t>& prompt) const {
  if (prompt.empty()) throw Unfit{"empty_prompt", "the prompt has no tokens"};
  for (size_t i = 0; i < prompt.size(); i++)
    if (prompt[i] < 0 || prompt[i] >= config_.vocab_size)
      throw Unfit{"bad_token", fmt::format("token id {} at position {} is outside the vocabulary of {}", prompt[i], i,
                                           config_.vocab_size)};
  // The generation of a shorter prompt just ends at the context's end.
  if (static_cast<int64_t>(prompt.size()) > config_.max_positions)
    throw Unfit{"too_long", fmt::format("the prompt has {} tokens, the model's context {}; split the document",
                                        prompt.size(), config_.max_positions)};
}

std::variant<Request, RowError> Preparer::prepare(const Document& document) const {
  try {
    Request request;
    request.row = document.header.row;
    request.noise_key = document.header.id.key();
    request.prompt = tokens_of(document);
    request.sampling = options_.sampling;
    document.sampling.apply_to(request.sampling);
    check(request.prompt);
    return request;
  } catch (Unfit& unfit) {
    return RowError{document.header, std::move(unfit.code), std::move(unfit.message), true};
  }
}

}  // namespace trireme

#include "job/batch_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "job/json_values.h"
#include "job/messages.h"
#include "job/row_fields.h"

namespace trireme {

namespace ondemand = simdjson::ondemand;
using ondemand::json_type;
using ondemand::value;

namespace {

constexpr int32_t kMaxChatLogprobs = 20, kMaxCompletionLogprobs = 5;  // of the published format
constexpr uint8_t kChat = 1u << static_cast<int>(RowForm::chat), kText = 1u << static_cast<int>(RowForm::completions),
                  kBoth = kChat | kText;

// The same field in our own rows.
void read_own(value& v, const BatchField& field, BatchBody& body) {
  find_row_field(field.name)->read(v, field.name, body.document);
}

void read_model(value& v, const BatchField& field, BatchBody& body) {
  body.document.header.model = read_string(v, field.name);
}

void read_chat(value& v, const BatchField& field, BatchBody& body) {
  body.has_content = true;
  body.document.kind = ContentKind::messages;
  body.document.content = read_messages(v, field.name, MessageRules::batch_request);
}

// The first character inside an array, which is not consumed; the text behind its first token is there (check_json).
char first_inside(value& array) {
  const char* at = array.raw_json_token().data() + 1;
  while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n') at++;
  return *at;
}

// A string, an array of one string, an array of token ids, or an array of one such array.
void read_prompt(value& v, const BatchField& field, BatchBody& body) {
  body.has_content = true;
  if (v.type() != json_type::array) return read_own(v, field, body);
  const char first = first_inside(v);
  if (first == ']') throw RowFault{"bad_field", "prompt must not be an empty array"};
  if (first != '"' && first != '[') return find_row_field("token_ids")->read(v, field.name, body.document);
  size_t prompts = 0;
  for (value item : v.get_array()) {
    if (++prompts > 1) throw RowFault{"unsupported", "prompt holds several prompts; a row has one"};
    if (first == '"')
      read_own(item, field, body);
    else
      find_row_field("token_ids")->read(item, "an item of prompt", body.document);
  }
}

// Two names of one thing.
void read_limit(value& v, const BatchField& field, BatchBody& body) {
  find_row_field("max_tokens")->read(v, field.name, body.document);
  if (body.max_tokens && body.max_tokens != body.document.sampling.max_tokens)
    throw RowFault{"bad_field", "max_tokens and max_completion_tokens differ; keep one"};
  body.max_tokens = body.document.sampling.max_tokens;
}

void read_chat_logprobs(value& v, const BatchField& field, BatchBody& body) {
  body.logprobs = read_flag(v, field.name);
}

void read_top_logprobs(value& v, const BatchField& field, BatchBody& body) {
  body.top_logprobs = read_number<int32_t>(v, field.name, 0, kMaxChatLogprobs, "an integer from 0 to 20");
}

void read_text_logprobs(value& v, const BatchField& field, BatchBody& body) {
  body.document.sampling.logprobs =
      read_number<int32_t>(v, field.name, 0, kMaxCompletionLogprobs, "an integer from 0 to 5");
}

// What a service may want to know, and a result cannot show.
void pass_over(value&, const BatchField&, BatchBody&) {}

bool is_number(std::string_view json) {
  return !json.empty() && (json[0] == '-' || (json[0] >= '0' && json[0] <= '9'));
}

void read_only(value& v, const BatchField& field, BatchBody&) {
  const std::string seen = compact_json(raw_json(v));
  const bool equal_numbers = is_number(seen) && is_number(field.only) &&
                             std::strtod(seen.c_str(), nullptr) == std::strtod(field.only.data(), nullptr);
  if (seen == field.only || equal_numbers) return;
  throw RowFault{"unsupported", fmt::format("{} is {}{}; it is supported only as {}", field.name, seen.substr(0, 40),
                                            seen.size() > 40 ? "..." : "", field.only)};
}

// null is no value of any of them, and the same as leaving the field out.
constexpr BatchField kFields[] = {
    {"model", kBoth, read_model, ""},
    {"messages", kChat, read_chat, ""},
    {"prompt", kText, read_prompt, ""},
    {"max_tokens", kBoth, read_limit, ""},
    {"max_completion_tokens", kChat, read_limit, ""},
    {"temperature", kBoth, read_own, ""},
    {"top_p", kBoth, read_own, ""},
    {"top_k", kBoth, read_own, ""},
    {"seed", kBoth, read_own, ""},
    {"stop", kBoth, read_own, ""},
    {"ignore_eos", kBoth, read_own, ""},
    {"logprobs", kChat, read_chat_logprobs, ""},
    {"top_logprobs", kChat, read_top_logprobs, ""},
    {"logprobs", kText, read_text_logprobs, ""},

    {"user", kBoth, pass_over, ""},
    {"metadata", kBoth, pass_over, ""},
    {"store", kBoth, pass_over, ""},
    {"service_tier", kBoth, pass_over, ""},
    {"safety_identifier", kBoth, pass_over, ""},
    {"prompt_cache_key", kBoth, pass_over, ""},
    {"parallel_tool_calls", kChat, pass_over, ""},

    {"n", kBoth, read_only, "1"},
    {"best_of", kText, read_only, "1"},
    {"stream", kBoth, read_only, "false"},
    {"stream_options", kBoth, read_only, "null"},
    {"echo", kText, read_only, "false"},
    {"suffix", kText, read_only, "\"\""},
    {"presence_penalty", kBoth, read_only, "0"},
    {"frequency_penalty", kBoth, read_only, "0"},
    {"logit_bias", kBoth, read_only, "{}"},
    {"response_format", kChat, read_only, R"({"type":"text"})"},
    {"modalities", kChat, read_only, R"(["text"])"},
    {"tools", kChat, read_only, "[]"},
    {"tool_choice", kChat, read_only, "\"none\""},
    {"functions", kChat, read_only, "[]"},
    {"function_call", kChat, read_only, "\"none\""},
};

}  // namespace

const BatchField* find_batch_field(std::string_view name, RowForm url) {
  for (const BatchField& field : kFields)
    if (field.name == name && (field.urls >> static_cast<int>(url) & 1u)) return &field;
  return nullptr;
}

void finish_batch_body(BatchBody& body) {
  const bool chat = body.document.header.form == RowForm::chat;
  if (!body.has_content)
    throw RowFault{"bad_field", fmt::format("the body has no {}", chat ? "messages" : "prompt"),
                   chat ? "messages" : "prompt"};
  if (body.top_logprobs && !body.logprobs.value_or(false))
    throw RowFault{"bad_field", "top_logprobs asks for log-probs, but logprobs is not true", "top_logprobs"};
  if (body.logprobs) body.document.sampling.logprobs = *body.logprobs ? body.top_logprobs.value_or(0) : -1;
}

}  // namespace trireme

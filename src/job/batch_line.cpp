#include "job/batch_line.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/hash.h"
#include "base/json_writer.h"
#include "base/utf8.h"
#include "job/result_fields.h"

namespace trireme {

namespace {

// Between a row's identity and its response's body, and after it.
void begin_line(JsonWriter& json, const RowHeader& header, int status_code) {
  const std::string key = hex16(header.request_key);
  json.begin_object().key("id").value("batch_req_" + key).key("custom_id").value(header.id.text);
  json.key("response").begin_object().key("status_code").value(status_code);
  json.key("request_id").value("req_" + key).key("body").begin_object();
}
void end_line(JsonWriter& json) { json.end_object().end_object().key("error").null().end_object(); }

// As the published format spells tokens: those that are no text alone as "bytes:\xe2\x82".
std::string token_text(std::string_view bytes) {
  size_t at = 0, length = 1;
  while (at < bytes.size() && (length = utf8_length_at(bytes, at)) != 0) at += length;
  if (length != 0) return std::string(bytes);
  std::string text = "bytes:";
  for (char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

void write_chat_token(JsonWriter& json, const std::string& bytes, float logprob) {
  json.key("token").value(token_text(bytes)).key("logprob").value(logprob).key("bytes").begin_array();
  for (char c : bytes) json.value(static_cast<unsigned char>(c));
  json.end_array();
}

void write_chat_logprobs(JsonWriter& json, const Completion& completion, const ResultStyle& style) {
  json.begin_object().key("content").begin_array();
  for (const TokenLogprob& entry : completion.logprobs) {
    json.begin_object();
    write_chat_token(json, style.token_bytes(entry.id), entry.logprob);
    json.key("top_logprobs").begin_array();
    for (auto [id, logprob] : entry.top) {
      json.begin_object();
      write_chat_token(json, style.token_bytes(id), logprob);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().key("refusal").null().end_object();
}

int64_t characters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; });
}

// Four lists side by side. In top_logprobs tokens are keys: of two that read alike the likelier one stands.
void write_text_logprobs(JsonWriter& json, const Completion& completion, const ResultStyle& style) {
  const auto& entries = completion.logprobs;
  json.begin_object().key("tokens").begin_array();
  for (const TokenLogprob& entry : entries) json.value(token_text(style.token_bytes(entry.id)));
  json.end_array().key("token_logprobs").begin_array();
  for (const TokenLogprob& entry : entries) json.value(entry.logprob);
  json.end_array().key("top_logprobs").begin_array();
  for (const TokenLogprob& entry : entries) {
    std::set<std::string> written;
    json.begin_object();
    for (auto [id, logprob] : entry.top)
      if (std::string text = token_text(style.token_bytes(id)); written.insert(text).second)
        json.key(text).value(logprob);
    json.end_object();
  }
  json.end_array().key("text_offset").begin_array();
  int64_t offset = 0;
  for (const TokenLogprob& entry : entries) {
    json.value(offset);
    offset += characters(style.token_bytes(entry.id));
  }
  json.end_array().end_object();
}

void write_choice(JsonWriter& json, bool chat, const Completion& completion, const ResultStyle& style) {
  json.begin_object().key("index").value(0);
  if (chat) {
    json.key("message").begin_object().key("role").value("assistant").key("content").value(completion.text);
    json.key("refusal").null().end_object();
  } else {
    json.key("text").value(completion.text);
  }
  json.key("logprobs");
  if (completion.logprobs.empty())
    json.null();
  else
    chat ? write_chat_logprobs(json, completion, style) : write_text_logprobs(json, completion, style);
  json.key("finish_reason").value(completion.finish_reason);
  if (style.with_token_ids) write_token_ids(json, completion);
  write_prompt_logprobs(json, completion);
  if (!completion.digest.empty()) json.key("digest").value(completion.digest);
  json.end_object();
}

}  // namespace

std::string batch_line(const RowHeader& header, const Completion& completion, const ResultStyle& style) {
  const bool chat = header.form == RowForm::chat;
  std::string line;
  JsonWriter json(line);
  begin_line(json, header, 200);
  json.key("id").value((chat ? "chatcmpl-" : "cmpl-") + hex16(header.request_key));
  json.key("object").value(chat ? "chat.completion" : "text_completion").key("created").value(style.created);
  json.key("model").value(header.model).key("choices").begin_array();
  write_choice(json, chat, completion, style);
  json.end_array().key("usage").begin_object().key("prompt_tokens").value(completion.prompt_tokens);
  json.key("completion_tokens").value(completion.completion_tokens);
  json.key("total_tokens").value(completion.prompt_tokens + completion.completion_tokens).end_object();
  end_line(json);
  return line;
}

std::string batch_error_line(const RowError& error) {
  const bool ours = error.code == "numerical_error";  // and not the request's
  std::string line;
  JsonWriter json(line);
  begin_line(json, error.header, ours ? 500 : 400);
  json.key("error").begin_object().key("message").value(error.message);
  json.key("type").value(ours ? "server_error" : "invalid_request_error").key("param");
  error.param.empty() ? json.null() : json.value(error.param);
  json.key("code").value(error.code).key("line").value(error.header.line).key("byte").value(error.header.byte);
  json.end_object();
  end_line(json);
  return line;
}

}  // namespace trireme

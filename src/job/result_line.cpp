#include "job/result_line.h"

#include "base/json_writer.h"

namespace trireme {

namespace {

void write_identity(JsonWriter& json, const RowHeader& header) {
  json.key("id");
  header.id.integer ? json.raw(header.id.text) : json.value(header.id.text);
  if (!header.input.empty()) json.key("input").raw(header.input);
}

void write_usage(JsonWriter& json, int64_t prompt_tokens, int64_t completion_tokens) {
  json.key("usage").begin_object();
  json.key("prompt_tokens").value(prompt_tokens);
  json.key("completion_tokens").value(completion_tokens);
  json.end_object();
}

void write_logprob(JsonWriter& json, const TokenLogprob& entry) {
  json.begin_object().key("id").value(entry.id).key("logprob").value(entry.logprob).key("top").begin_array();
  for (auto [id, logprob] : entry.top) json.begin_array().value(id).value(logprob).end_array();
  json.end_array().end_object();
}

void write_extras(JsonWriter& json, const Completion& completion, bool with_token_ids) {
  if (with_token_ids) {
    json.key("token_ids").begin_array();
    for (int32_t id : completion.token_ids) json.value(id);
    json.end_array();
  }
  if (!completion.logprobs.empty()) {
    json.key("logprobs").begin_array();
    for (const TokenLogprob& entry : completion.logprobs) write_logprob(json, entry);
    json.end_array();
  }
  if (!completion.prompt_logprobs.empty()) {
    json.key("prompt_logprobs").begin_array();
    for (const auto& entry : completion.prompt_logprobs) entry ? write_logprob(json, *entry) : void(json.null());
    json.end_array();
  }
  if (!completion.digest.empty()) json.key("digest").value(completion.digest);
}

std::string error_row(const RowError& error, int64_t prompt_tokens) {
  std::string line;
  JsonWriter json(line);
  json.begin_object();
  write_identity(json, error.header);
  json.key("text").null().key("finish_reason").value("error");
  write_usage(json, prompt_tokens, 0);
  json.key("error").begin_object();
  json.key("code").value(error.code).key("message").value(error.message);
  json.key("line").value(error.header.line).key("byte").value(error.header.byte);
  json.end_object().end_object();
  return line;
}

}  // namespace

std::string result_line(const RowHeader& header, const Completion& completion, bool with_token_ids) {
  if (!completion.error_code.empty())
    return error_row({header, completion.error_code, completion.error_message}, completion.prompt_tokens);
  std::string line;
  JsonWriter json(line);
  json.begin_object();
  write_identity(json, header);
  json.key("text").value(completion.text).key("finish_reason").value(completion.finish_reason);
  write_usage(json, completion.prompt_tokens, completion.completion_tokens);
  write_extras(json, completion, with_token_ids);
  json.end_object();
  return line;
}

std::string error_line(const RowError& error) { return error_row(error, 0); }

}  // namespace trireme

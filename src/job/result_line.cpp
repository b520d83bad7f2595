#include "job/result_line.h"

#include <nlohmann/json.hpp>

#include "job/batch_line.h"
#include "job/result_fields.h"

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

void write_extras(JsonWriter& json, const Completion& completion, const ResultStyle& style) {
  if (style.with_token_ids) write_token_ids(json, completion);
  if (!completion.logprobs.empty()) {
    json.key("logprobs").begin_array();
    for (const TokenLogprob& entry : completion.logprobs) write_logprob(json, entry);
    json.end_array();
  }
  write_prompt_logprobs(json, completion);
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

std::string result_line(const RowHeader& header, const Completion& completion, const ResultStyle& style) {
  if (!completion.error_code.empty()) {
    RowError error{header, completion.error_code, completion.error_message};
    return header.form == RowForm::own ? error_row(error, completion.prompt_tokens) : batch_error_line(error);
  }
  if (header.form != RowForm::own) return batch_line(header, completion, style);
  std::string line;
  JsonWriter json(line);
  json.begin_object();
  write_identity(json, header);
  json.key("text").value(completion.text).key("finish_reason").value(completion.finish_reason);
  write_usage(json, completion.prompt_tokens, completion.completion_tokens);
  write_extras(json, completion, style);
  json.end_object();
  return line;
}

std::string error_line(const RowError& error) {
  return error.header.form == RowForm::own ? error_row(error, 0) : batch_error_line(error);
}

}  // namespace trireme

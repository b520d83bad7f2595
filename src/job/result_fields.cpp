#include "job/result_fields.h"

namespace trireme {

void write_token_ids(JsonWriter& json, const Completion& completion) {
  json.key("token_ids").begin_array();
  for (int32_t id : completion.token_ids) json.value(id);
  json.end_array();
}

void write_prompt_logprobs(JsonWriter& json, const Completion& completion) {
  if (completion.prompt_logprobs.empty()) return;
  json.key("prompt_logprobs").begin_array();
  for (const auto& entry : completion.prompt_logprobs) entry ? write_logprob(json, *entry) : void(json.null());
  json.end_array();
}

void write_logprob(JsonWriter& json, const TokenLogprob& entry) {
  json.begin_object().key("id").value(entry.id).key("logprob").value(entry.logprob).key("top").begin_array();
  for (auto [id, logprob] : entry.top) json.begin_array().value(id).value(logprob).end_array();
  json.end_array().end_object();
}

}  // namespace trireme

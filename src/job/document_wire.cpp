#include "job/document_wire.h"

namespace trireme {

namespace {

template <typename T>
void put_optional(WireWriter& wire, const std::optional<T>& value) {
  wire.put(static_cast<uint8_t>(value.has_value()));
  if (value) wire.put(*value);
}

template <typename T>
std::optional<T> get_optional(WireReader& wire) {
  if (!wire.get_flag()) return std::nullopt;
  return wire.get<T>();
}

void put_stops(WireWriter& wire, const std::optional<std::vector<std::string>>& stops) {
  wire.put(static_cast<uint8_t>(stops.has_value()));
  if (!stops) return;
  wire.put(static_cast<uint64_t>(stops->size()));
  for (const std::string& stop : *stops) wire.put(stop);
}

std::optional<std::vector<std::string>> get_stops(WireReader& wire) {
  if (!wire.get_flag()) return std::nullopt;
  std::vector<std::string> stops(wire.get_count(sizeof(uint64_t)));
  for (std::string& stop : stops) wire.get(stop);
  return stops;
}

void put_overrides(WireWriter& wire, const SamplingOverrides& sampling) {
  put_optional(wire, sampling.max_tokens);
  put_optional(wire, sampling.temperature);
  put_optional(wire, sampling.top_p);
  put_optional(wire, sampling.top_k);
  put_optional(wire, sampling.seed);
  put_stops(wire, sampling.stop);
  wire.put(static_cast<uint8_t>(sampling.ignore_eos ? 1 + *sampling.ignore_eos : 0));
  put_optional(wire, sampling.logprobs);
}

SamplingOverrides get_overrides(WireReader& wire) {
  SamplingOverrides sampling;
  sampling.max_tokens = get_optional<int64_t>(wire);
  sampling.temperature = get_optional<float>(wire);
  sampling.top_p = get_optional<float>(wire);
  sampling.top_k = get_optional<int32_t>(wire);
  sampling.seed = get_optional<uint64_t>(wire);
  sampling.stop = get_stops(wire);
  auto ignore_eos = wire.get<uint8_t>();
  must(ignore_eos <= 2, "ignore_eos in a message is absent, false or true");
  if (ignore_eos) sampling.ignore_eos = ignore_eos == 2;
  sampling.logprobs = get_optional<int32_t>(wire);
  return sampling;
}

}  // namespace

void put_document(WireWriter& wire, const Document& document) {
  const RowHeader& header = document.header;
  wire.put(header.row);
  wire.put(header.line);
  wire.put(header.byte);
  wire.put(static_cast<uint8_t>(header.id.integer));
  wire.put(header.id.text);
  wire.put(header.input);
  wire.put(header.form);
  wire.put(header.model);
  wire.put(header.request_key);
  wire.put(document.kind);
  wire.put(document.content);
  wire.put(document.token_ids);
  put_overrides(wire, document.sampling);
}

Document get_document(WireReader& wire) {
  Document document;
  RowHeader& header = document.header;
  wire.get(header.row);
  wire.get(header.line);
  wire.get(header.byte);
  header.id.integer = wire.get_flag();
  wire.get(header.id.text);
  wire.get(header.input);
  wire.get(header.form);
  must(header.form <= RowForm::completions, "the form of a row in a message is known");
  wire.get(header.model);
  wire.get(header.request_key);
  wire.get(document.kind);
  must(document.kind <= ContentKind::token_ids, "the kind of a document in a message is known");
  wire.get(document.content);
  wire.get(document.token_ids);
  document.sampling = get_overrides(wire);
  return document;
}

void put_finished(WireWriter& wire, const FinishedRow& row) {
  wire.put(row.row);
  wire.put(row.line);
  wire.put(static_cast<uint8_t>(row.is_error));
  wire.put(row.prompt_tokens);
  wire.put(row.completion_tokens);
}

FinishedRow get_finished(WireReader& wire) {
  FinishedRow row;
  wire.get(row.row);
  wire.get(row.line);
  row.is_error = wire.get_flag();
  wire.get(row.prompt_tokens);
  wire.get(row.completion_tokens);
  return row;
}

}  // namespace trireme

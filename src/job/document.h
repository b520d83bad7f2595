#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/request.h"

namespace trireme {

// Who a document is: a string or an integer, and "1" is not 1.
struct DocumentId {
  bool integer = false;
  std::string text;  // of an integer: its digits

  uint64_t key() const;  // XXH3 of type and text: the same document draws the same noise on every layout
  bool operator==(const DocumentId&) const = default;
};

// The form of a row decides that of its result: our own, or the batch-request format's for one of its urls.
enum class RowForm : uint8_t { own, request, chat, completions };  // request: url not known (yet)

// What a row's result repeats of it. Stays with the row from the input to its output line.
struct RowHeader {
  uint64_t row = 0;  // from 0, the order of results
  int64_t line = 1;  // from 1
  int64_t byte = 0;  // of the row's start in the decompressed stream
  DocumentId id;
  std::string input;  // the row's own fields as one JSON object; "" when there are none
  RowForm form = RowForm::own;
  std::string model = {};    // of a batch request: what it calls the model
  uint64_t request_key = 0;  // likewise: what the ids of its result are made of (DocumentReader)
};

// A row that has no result, and why. docs/formats.md lists the codes.
struct RowError {
  RowHeader header;  // its byte: the offending one where it is known
  std::string code;
  std::string message;
  bool has_own_id = false;  // the row's own id could be read; else the id is the line number
  std::string param = {};   // of a batch request: the field at fault, "" when it is no field's
};

// What a row may override; the rest comes from the command line.
struct SamplingOverrides {
  std::optional<int64_t> max_tokens;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<uint64_t> seed;
  std::optional<std::vector<std::string>> stop;
  std::optional<bool> ignore_eos;
  std::optional<int32_t> logprobs;  // as SamplingParams has it; only batch requests say it

  void apply_to(SamplingParams& params) const;
};

enum class ContentKind : uint8_t { text, prompt, messages, token_ids };

// A row that was read and found well-formed. Whether it fits the model is for prepare.h.
struct Document {
  RowHeader header;
  ContentKind kind = ContentKind::text;
  std::string content;             // text, prompt, or the messages as a JSON array
  std::vector<int32_t> token_ids;  // only for ContentKind::token_ids; none is negative
  SamplingOverrides sampling;
};

using DocumentOrError = std::variant<Document, RowError>;

}  // namespace trireme

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

// What a row's result repeats of it. Stays with the row from the input to its output line.
struct RowHeader {
  uint64_t row = 0;  // from 0, the order of results
  int64_t line = 1;  // from 1
  int64_t byte = 0;  // of the row's start in the decompressed stream
  DocumentId id;
  std::string input;  // the row's own fields as one JSON object; "" when there are none
};

// A row that has no result, and why. docs/formats.md lists the codes.
struct RowError {
  RowHeader header;  // its byte: the offending one where it is known
  std::string code;
  std::string message;
  bool has_own_id = false;  // the row's own id could be read; else the id is the line number
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

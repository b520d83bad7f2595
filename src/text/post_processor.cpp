#include "text/post_processor.h"

#include <algorithm>

namespace trireme {
namespace {

constexpr int max_depth = 16;  // of a Sequence in a Sequence

int32_t id_of(const JsonField& text, const Vocabulary& vocabulary) {
  const int32_t id = vocabulary.find(text.text());
  if (id < 0) text.damaged(text.text(), "a token of the vocabulary");
  return id;
}

// {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": ...}]}
int32_t first_of_template(const JsonField& field, const Vocabulary& vocabulary) {
  const std::vector<JsonField> single = field["single"].elements();
  if (single.empty()) return -1;
  const JsonField token = single[0]["SpecialToken"];
  return token.is_null() ? -1 : id_of(token["id"], vocabulary);
}

// {"cls": ["[CLS]", 101]}
int32_t first_of_pair(const JsonField& field, const Vocabulary& vocabulary) {
  const std::vector<JsonField> token = field["cls"].elements();
  if (token.size() != 2) field["cls"].damaged("another thing", "[text, id]");
  return id_of(token[0], vocabulary);
}

int32_t first_of(const JsonField& field, const Vocabulary& vocabulary, int depth) {
  if (depth > max_depth) field.damaged("one Sequence inside another, too deep", "a flat Sequence");
  if (field.is_null()) return -1;
  const std::string& type = field["type"].text();
  if (type == "ByteLevel") return -1;
  if (type == "TemplateProcessing") return first_of_template(field, vocabulary);
  if (type == "BertProcessing" || type == "RobertaProcessing") return first_of_pair(field, vocabulary);
  if (type != "Sequence")
    field["type"].unsupported(type, "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence");
  int32_t id = -1;
  for (const JsonField& step : field["processors"].elements()) id = std::max(id, first_of(step, vocabulary, depth + 1));
  return id;
}

}  // namespace

int32_t first_special(const JsonField& field, const Vocabulary& vocabulary) { return first_of(field, vocabulary, 0); }

}  // namespace trireme

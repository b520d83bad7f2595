#pragma once

#include <string>
#include <string_view>

#include "text/json_field.h"
#include "text/marked_text.h"

namespace trireme {

// The `normalizer` of a tokenizer.json: none or NFC.
class Normalizer {
 public:
  explicit Normalizer(const JsonField& field);

  bool is_identity() const { return !nfc_; }
  std::string normalize(std::string_view text) const;  // valid UTF-8 in and out

  // As one text. Where a mark could join what stands before a border of trust, it takes the border with it: the
  // text from there to the next safe place counts as untrusted.
  MarkedText normalize(const MarkedText& text) const;

 private:
  void add(const JsonField& field);

  bool nfc_ = false;
};

}  // namespace trireme

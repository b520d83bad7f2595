#pragma once

#include <string>

#include "text/json_field.h"

namespace trireme {

// The settings of a `Metaspace`, as pre-tokenizer and as decoder: blanks are written as a character of their own.
struct Metaspace {
  enum class Prepend { always, first, never };  // before which pieces one is put: each, the one that begins the text

  explicit Metaspace(const JsonField& field);

  std::string replacement;  // one character
  Prepend prepend = Prepend::always;
  bool split = true;
};

}  // namespace trireme

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/marked_text.h"

namespace trireme {

struct NormalizerStep;

// The `normalizer` of a tokenizer.json: steps that change the text before it is cut into words.
class Normalizer {
 public:
  // Throws Error(bad_data) for a step it does not have, by name.
  explicit Normalizer(const JsonField& field);
  ~Normalizer();

  struct Result {
    MarkedText text;
    bool removed_front = false;  // what the text began with has gone
  };
  bool is_identity() const { return steps_.empty(); }
  Result normalize(MarkedText text) const;  // as one text, which remembers what is trusted
  std::string normalize(std::string_view text) const;

 private:
  void add(const JsonField& field, int depth);

  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace trireme

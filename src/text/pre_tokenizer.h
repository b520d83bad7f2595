#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace trireme {

// Cuts text into the words that the model then encodes one by one: the stages of tokenizer.json's `pre_tokenizer`, each
// applied to the pieces of the one before.
class PreTokenizer {
 public:
  // Buffers of one encode call. Words point into the text or into `kept`, so both must outlive them.
  struct Scratch {
    Regex::Scratch regex;
    std::deque<std::string> kept;
  };
  using WordSink = std::function<void(std::string_view)>;

  explicit PreTokenizer(const JsonField& field);

  // Calls `word` for each non-empty word in order. text is valid UTF-8.
  void split(std::string_view text, Scratch& scratch, const WordSink& word) const { run(0, text, scratch, word); }

 private:
  // What becomes of the matches of a pattern and the stretches between them.
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

  struct Stage {
    enum class Kind { digits, pattern, prefix_space };
    Kind kind;
    Behavior behavior = Behavior::isolated;
    bool invert = false;
    std::vector<Regex> regex;  // one for a pattern, none otherwise
  };

  void add_stages(const JsonField& field);
  void add_byte_level(const JsonField& field);
  void add_split(const JsonField& field);
  void run(size_t stage, std::string_view text, Scratch& scratch, const WordSink& word) const;

  std::vector<Stage> stages_;
  bool byte_level_ = false;  // ByteLevel was seen; it must be the last stage
};

}  // namespace trireme

#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/metaspace.h"
#include "text/pattern.h"

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

  // The model sees the bytes of a word in the byte alphabet.
  bool is_byte_level() const { return byte_level_; }

  // Calls `word` for each non-empty word in order. text is valid UTF-8; begins_text: nothing stood before it.
  void split(std::string_view text, bool begins_text, Scratch& scratch, const WordSink& word) const {
    run(0, text, begins_text, scratch, word);
  }

 private:
  // What becomes of the matches of a pattern and the stretches between them.
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

  struct Stage {
    enum class Kind { digits, white_space, words, punctuation, pattern, prefix_space, metaspace };
    Kind kind;
    Behavior behavior = Behavior::isolated;
    bool invert = false;
    std::optional<Pattern> pattern;
    std::optional<Metaspace> metaspace;
  };

  void add_stages(const JsonField& field, int depth);
  void add(Stage::Kind kind, Behavior behavior);
  void add_byte_level(const JsonField& field);
  void add_split(const JsonField& field);
  static Behavior behavior_of(const JsonField& field, std::string_view absent);
  void run(size_t stage, std::string_view text, bool begins_text, Scratch& scratch, const WordSink& word) const;
  std::string_view changed(const Stage& stage, std::string_view text, bool begins_text, Scratch& scratch) const;
  template <typename Sink>
  static void each_match(const Stage& stage, std::string_view text, Scratch& scratch, const Sink& sink);

  std::vector<Stage> stages_;
  bool byte_level_ = false;  // ByteLevel was seen; it must be the last stage
};

}  // namespace trireme

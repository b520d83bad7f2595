#include "text/tokenizer.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/json_field.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace trireme {
namespace {

constexpr size_t max_json_bytes = 256u << 20;  // the largest published file has 33 MB
constexpr size_t max_text_bytes = 1u << 30;    // positions in a word are int32

nlohmann::json parse(std::string_view source) {
  if (source.size() > max_json_bytes)
    fail(ExitCode::bad_data, "tokenizer.json has {} bytes, expected at most {}; fetch the model again", source.size(),
         max_json_bytes);
  nlohmann::json file = nlohmann::json::parse(source, nullptr, false);
  if (!file.is_object())
    fail(ExitCode::bad_data, "tokenizer.json is damaged: not a JSON object; fetch the model again");
  return file;
}

const JsonField& expect_type(const JsonField& field, std::string_view type) {
  if (const JsonField seen = field["type"]; seen.text_or("none") != type) seen.unsupported(seen.text_or("none"), type);
  return field;
}

// The id of the token that the post-processor puts before a text; -1: none. Nothing else of it matters to a prompt.
int32_t first_special(const JsonField& field, const Vocabulary& vocabulary) {
  if (field.is_null()) return -1;
  const std::string& type = field["type"].text();
  if (type == "ByteLevel") return -1;
  if (type == "Sequence") {
    int32_t id = -1;
    for (const JsonField& step : field["processors"].elements()) {
      if (step["type"].text_or("") == "Sequence") step.unsupported("Sequence", "a flat Sequence");
      id = std::max(id, first_special(step, vocabulary));
    }
    return id;
  }
  if (type != "TemplateProcessing") field["type"].unsupported(type, "ByteLevel, TemplateProcessing, Sequence");
  const std::vector<JsonField> single = field["single"].elements();
  if (single.empty()) return -1;
  const JsonField token = single[0]["SpecialToken"];
  if (token.is_null()) return -1;
  const int32_t id = vocabulary.find(token["id"].text());
  if (id < 0) token["id"].damaged(token["id"].text(), "a token of the vocabulary");
  return id;
}

}  // namespace

struct Tokenizer::State {
  explicit State(const JsonField& file)
      : vocabulary(expect_type(file["model"], "BPE")["vocab"]),
        bpe(file["model"], vocabulary),
        normalizer(file["normalizer"]),
        added(file["added_tokens"], normalizer, vocabulary),
        pre_tokenizer(file["pre_tokenizer"]),
        bos_id(first_special(file["post_processor"], vocabulary)),
        whole_words(file["model"]["ignore_merges"].flag_or(false)) {
    expect_type(file["decoder"], "ByteLevel");
    bytes.reserve(vocabulary.size());
    for (int32_t id = 0; id < vocabulary.size(); ++id) bytes.push_back(from_byte_alphabet(vocabulary.text(id)));
    special.resize(vocabulary.size());
    for (const AddedToken& token : added.tokens())
      if (token.special) special[token.id] = true;
  }

  bool has(int32_t id) const { return id >= 0 && id < vocabulary.size(); }

  Vocabulary vocabulary;
  Bpe bpe;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  int32_t bos_id;
  bool whole_words;                // a word that is a token is not taken apart (ignore_merges)
  std::vector<std::string> bytes;  // [vocab_size]
  std::vector<bool> special;       // [vocab_size]
};

namespace {

// One encode call: its buffers and the way of a text through the stages.
class Encoding {
 public:
  Encoding(const Tokenizer::State& state, MarkedText text)
      : state_(state), text_(std::move(text)), cache_(text_.text.size()) {}

  std::vector<int32_t> run() {
    cut(text_, AddedTokens::Stage::raw, [&](size_t begin, size_t end) {
      if (state_.normalizer.is_identity() && !state_.added.has_normalized()) return add_words(view(text_, begin, end));
      const MarkedText& part = parts_.emplace_back(state_.normalizer.normalize(text_.slice(begin, end)));
      cut(part, AddedTokens::Stage::normalized, [&](size_t from, size_t to) { add_words(view(part, from, to)); });
    });
    return std::move(ids_);
  }

 private:
  static constexpr size_t max_cached_bytes = 128;

  static std::string_view view(const MarkedText& text, size_t begin, size_t end) {
    return std::string_view(text.text).substr(begin, end - begin);
  }

  void cut(const MarkedText& text, AddedTokens::Stage stage, const AddedTokens::TextSink& sink) {
    state_.added.split(text, stage, sink, [&](int32_t id) { ids_.push_back(id); });
  }

  void add_words(std::string_view text) {
    state_.pre_tokenizer.split(text, pre_tokenizer_scratch_, [&](std::string_view word) { add_word(word); });
  }

  void add_word(std::string_view word) {
    if (word.size() > max_cached_bytes) return encode_word(word);
    WordCache::Slot& slot = cache_.slot(word);
    if (slot.holds(word)) {
      for (size_t i = 0; i < slot.ids.count; ++i) ids_.push_back(ids_[slot.ids.begin + i]);
      return;
    }
    const size_t begin = ids_.size();
    encode_word(word);
    slot = {word.data(), word.size(), {begin, ids_.size() - begin}};
  }

  void encode_word(std::string_view word) {
    if (state_.whole_words) {
      const int32_t id = state_.vocabulary.find(to_byte_alphabet(word));
      if (id >= 0 && !state_.special[id]) return ids_.push_back(id);
    }
    state_.bpe.encode(word, bpe_scratch_, ids_);
  }

  const Tokenizer::State& state_;
  const MarkedText text_;
  std::deque<MarkedText> parts_;  // normalized; words point into them
  PreTokenizer::Scratch pre_tokenizer_scratch_;
  Bpe::Scratch bpe_scratch_;
  WordCache cache_;
  std::vector<int32_t> ids_;
};

}  // namespace

Tokenizer::Tokenizer(std::string_view tokenizer_json) {
  const nlohmann::json file = parse(tokenizer_json);
  state_ = std::make_unique<State>(JsonField(file, ""));
}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

int Tokenizer::vocab_size() const { return state_->vocabulary.size(); }

std::vector<int32_t> Tokenizer::encode(std::span<const TextPiece> pieces) const {
  MarkedText text;
  for (const TextPiece& piece : pieces) text.append(piece.text, piece.trusted);
  if (text.text.size() > max_text_bytes)
    fail(ExitCode::bad_data, "a text of {} bytes cannot be tokenized, expected at most {}; split it", text.text.size(),
         max_text_bytes);
  return Encoding(*state_, std::move(text)).run();
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool trusted) const {
  const TextPiece piece{std::string(text), trusted};
  return encode({&piece, 1});
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids)
    if (state_->has(id) && !(skip_special && state_->special[id])) bytes += state_->bytes[id];
  return lossy_utf8(bytes);
}

int32_t Tokenizer::find_id(std::string_view token) const { return state_->vocabulary.find(token); }
bool Tokenizer::is_special(int32_t id) const { return state_->has(id) && state_->special[id]; }
std::string Tokenizer::token_bytes(int32_t id) const { return state_->has(id) ? state_->bytes[id] : std::string(); }
int32_t Tokenizer::bos_id() const { return state_->bos_id; }

std::string StreamDecoder::push(int32_t id) {
  std::string text;
  if (tokenizer_->is_special(id)) return text;
  pending_ += tokenizer_->token_bytes(id);
  pending_.erase(0, append_lossy(text, pending_));
  return text;
}

std::string StreamDecoder::finish() {
  const std::string text = lossy_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace trireme

#include "text/tokenizer.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/json_depth.h"
#include "text/added_tokens.h"
#include "text/json_field.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace trireme {
namespace {

constexpr size_t max_json_bytes = 256u << 20;  // the largest published file has 33 MB
constexpr int max_json_depth = 64;             // published files have 8
constexpr size_t max_text_bytes = 1u << 30;    // positions in a word are int32

nlohmann::json parse(std::string_view source) {
  if (source.size() > max_json_bytes)
    fail(ExitCode::bad_data, "tokenizer.json has {} bytes, expected at most {}; fetch the model again", source.size(),
         max_json_bytes);
  if (const int depth = json_depth(source); depth > max_json_depth)
    fail(ExitCode::bad_data, "tokenizer.json is nested {} deep, expected at most {}; fetch the model again", depth,
         max_json_depth);
  nlohmann::json file = nlohmann::json::parse(source, nullptr, false);
  if (!file.is_object())
    fail(ExitCode::bad_data, "tokenizer.json is damaged: not a JSON object; fetch the model again");
  return file;
}

}  // namespace

struct Tokenizer::State {
  explicit State(const JsonField& file)
      : vocabulary(file["model"]["vocab"]),
        normalizer(file["normalizer"]),
        added(file["added_tokens"], normalizer, vocabulary),
        pre_tokenizer(file["pre_tokenizer"]),
        model(TokenModel::of(file["model"], vocabulary, pre_tokenizer.is_byte_level(), added.special_ids())),
        decoder(file["decoder"]),
        bos_id(first_special(file["post_processor"], vocabulary)) {
    special.resize(static_cast<size_t>(vocabulary.size()));
    is_added.resize(special.size());
    for (const AddedToken& token : added.tokens()) {
      is_added[static_cast<size_t>(token.id)] = true;
      if (token.special) special[static_cast<size_t>(token.id)] = true;
    }
  }

  bool has(int32_t id) const { return vocabulary.has(id); }

  Vocabulary vocabulary;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const TokenModel> model;
  TokenDecoder decoder;
  int32_t bos_id;
  std::vector<bool> special;   // [vocab_size]
  std::vector<bool> is_added;  // [vocab_size]
};

namespace {

// One encode call: its buffers and the way of a text through the stages.
class Encoding {
 public:
  Encoding(const Tokenizer::State& state, MarkedText text)
      : state_(state), text_(std::move(text)), cache_(text_.text.size()) {}

  std::vector<int32_t> run() {
    cut(text_, AddedTokens::Stage::raw, [&](size_t begin, size_t end) {
      if (state_.normalizer.is_identity() && !state_.added.has_normalized())
        return add_words(view(text_, begin, end), begin == 0);
      Normalizer::Result result = state_.normalizer.normalize(text_.slice(begin, end));
      const MarkedText& part = parts_.emplace_back(std::move(result.text));
      const bool begins_text = begin == 0 && !result.removed_front;
      cut(part, AddedTokens::Stage::normalized,
          [&](size_t from, size_t to) { add_words(view(part, from, to), begins_text && from == 0); });
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

  void add_words(std::string_view text, bool begins_text) {
    state_.pre_tokenizer.split(text, begins_text, pre_tokenizer_scratch_, [&](std::string_view word) {
      for (size_t size = 0; !word.empty(); word.remove_prefix(size)) {
        size = state_.model->part_bytes(word);
        add_part(word.substr(0, size));
      }
    });
  }

  void add_part(std::string_view word) {
    if (word.size() > max_cached_bytes) return state_.model->encode(word, model_scratch_, ids_);
    WordCache::Slot& slot = cache_.slot(word);
    if (slot.holds(word)) {
      for (size_t i = 0; i < slot.ids.count; ++i) ids_.push_back(ids_[slot.ids.begin + i]);
      return;
    }
    const size_t begin = ids_.size();
    state_.model->encode(word, model_scratch_, ids_);
    slot = {word.data(), word.size(), {begin, ids_.size() - begin}};
  }

  const Tokenizer::State& state_;
  const MarkedText text_;
  std::deque<MarkedText> parts_;  // normalized; words point into them
  PreTokenizer::Scratch pre_tokenizer_scratch_;
  ModelScratch model_scratch_;
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

void Tokenizer::push(int32_t id, bool skip_special, DecoderStates& states, std::string& text) const {
  if (!state_->has(id) || (skip_special && is_special(id))) return;
  state_->decoder.push(state_->vocabulary.text(id), states, text);
}

void Tokenizer::finish(DecoderStates& states, std::string& text) const { state_->decoder.finish(states, text); }

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  DecoderStates states;
  std::string text;
  for (const int32_t id : ids) push(id, skip_special, states, text);
  finish(states, text);
  return text;
}

int32_t Tokenizer::find_id(std::string_view token) const { return state_->vocabulary.find(token); }
bool Tokenizer::is_special(int32_t id) const { return state_->has(id) && state_->special[static_cast<size_t>(id)]; }

std::string Tokenizer::token_bytes(int32_t id) const {
  if (!state_->has(id)) return {};
  const std::string& text = state_->vocabulary.text(id);
  return state_->is_added[static_cast<size_t>(id)] ? text : state_->decoder.bytes_of(text);
}

int32_t Tokenizer::bos_id() const { return state_->bos_id; }

std::string StreamDecoder::push(int32_t id) {
  std::string text;
  tokenizer_->push(id, true, states_, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  tokenizer_->finish(states_, text);
  return text;
}

}  // namespace trireme

#include "text/token_decoder.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t max_steps = 64;
constexpr int max_depth = 16;  // of a Sequence in a Sequence
constexpr int64_t max_cut = 1 << 20;

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) return std::string(text);
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    out += text.substr(done, at - done);
    out += to;
    done = at + from.size();
  }
  return out += text.substr(done);
}

std::string replaced(std::string_view text, const Pattern& pattern, std::string_view to) {
  Regex::Scratch scratch;
  std::string out;
  pattern.each(text, scratch, [&](size_t begin, size_t end, bool is_match) {
    out += is_match ? to : text.substr(begin, end - begin);
  });
  return out;
}

// The blanks before signs that BERT's own tokenizer takes back.
std::string without_artifacts(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> changes[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : changes) text = replaced(text, from, to);
  return text;
}

size_t count_front(std::string_view text, std::string_view unit, size_t most) {
  size_t count = 0;
  while (count < most && !unit.empty() && text.starts_with(unit)) text.remove_prefix(unit.size()), ++count;
  return count;
}

size_t count_back(std::string_view text, std::string_view unit, size_t most) {
  size_t count = 0;
  while (count < most && !unit.empty() && text.ends_with(unit)) text.remove_suffix(unit.size()), ++count;
  return count;
}

}  // namespace

TokenDecoder::TokenDecoder(const JsonField& field) {
  if (field.is_null())
    steps_.push_back({.kind = Kind::join});
  else
    add(field, 0);
  // After the first step that makes one text of all tokens the others see its parts, or, where one cannot, the whole.
  const auto fuses = [](const Step& step) { return step.kind == Kind::byte_level || step.kind == Kind::fuse; };
  const auto takes_parts = [](const Step& step) { return step.kind == Kind::fuse || step.kind == Kind::strip; };
  const auto first = std::find_if(steps_.begin(), steps_.end(), fuses);
  if (first == steps_.end()) return;
  first->holds = !std::all_of(first + 1, steps_.end(), takes_parts);
  for (auto step = first + 1; step != steps_.end(); ++step) step->on_fused = !first->holds;
}

void TokenDecoder::add(const JsonField& field, int depth) {
  if (depth > max_depth || steps_.size() >= max_steps)
    field.damaged("one of too many steps", fmt::format("at most {}, nested at most {} deep", max_steps, max_depth));
  if (field["type"].text() != "Sequence") return steps_.push_back(read(field));
  for (const JsonField& step : field["decoders"].elements()) add(step, depth + 1);
}

TokenDecoder::Step TokenDecoder::read(const JsonField& field) const {
  static const std::map<std::string, Kind> kinds = {{"ByteLevel", Kind::byte_level},
                                                    {"ByteFallback", Kind::byte_fallback},
                                                    {"Fuse", Kind::fuse},
                                                    {"Metaspace", Kind::metaspace},
                                                    {"Replace", Kind::replace},
                                                    {"Strip", Kind::strip},
                                                    {"WordPiece", Kind::word_piece},
                                                    {"BPEDecoder", Kind::bpe_suffix}};
  const std::string& type = field["type"].text();
  const auto found = kinds.find(type);
  if (found == kinds.end())
    field["type"].unsupported(
        type, "ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, WordPiece, BPEDecoder, Sequence");
  Step step{.kind = found->second};
  if (step.kind == Kind::metaspace) step.metaspace.emplace(field);
  if (step.kind == Kind::replace) step.pattern.emplace(field["pattern"]);
  if (step.kind == Kind::replace || step.kind == Kind::strip) step.text = field["content"].text();
  if (step.kind == Kind::strip) {
    step.start = static_cast<size_t>(field["start"].integer(0, max_cut));
    step.stop = static_cast<size_t>(field["stop"].integer(0, max_cut));
  }
  if (step.kind == Kind::word_piece) step.text = field["prefix"].text_or("##");
  if (step.kind == Kind::word_piece) step.cleanup = field["cleanup"].flag_or(true);
  if (step.kind == Kind::bpe_suffix) step.text = field["suffix"].text_or("</w>");
  return step;
}

void TokenDecoder::push(std::string_view token, DecoderStates& states, std::string& out) const {
  states.resize(steps_.size());
  feed(0, std::string(token), states, out);
}

void TokenDecoder::finish(DecoderStates& states, std::string& out) const {
  states.resize(steps_.size());
  for (size_t i = 0; i < steps_.size(); ++i) end(i, states, out);
  states.clear();
}

void TokenDecoder::feed(size_t index, std::string token, DecoderStates& states, std::string& out) const {
  if (index == steps_.size()) {
    out += token;
    return;
  }
  const Step& step = steps_[index];
  DecoderState& state = states[index];
  const size_t before = state.count++;
  const auto pass = [&](std::string text) { feed(index + 1, std::move(text), states, out); };
  switch (step.kind) {
    case Kind::byte_level: {
      state.held += from_byte_alphabet(token);
      std::string text;
      if (step.holds) return;
      state.held.erase(0, append_lossy(text, state.held));
      return pass(std::move(text));
    }
    case Kind::fuse:
      if (!step.holds) return pass(std::move(token));
      state.held += token;
      return;
    case Kind::byte_fallback:
      if (const int byte = byte_of(token); byte >= 0) {
        state.held += static_cast<char>(byte);
        return;
      }
      fall_back(index, states, out);
      return pass(std::move(token));
    case Kind::metaspace: {
      const bool drops = before == 0 && step.metaspace->prepend != Metaspace::Prepend::never;
      return pass(replaced(token, step.metaspace->replacement, drops ? "" : " "));
    }
    case Kind::replace:
      return pass(replaced(token, *step.pattern, step.text));
    case Kind::strip: {
      if (step.on_fused) return strip_fused(index, token, states, out);
      token.erase(0, count_front(token, step.text, step.start) * step.text.size());
      token.resize(token.size() - count_back(token, step.text, step.stop) * step.text.size());
      return pass(std::move(token));
    }
    case Kind::word_piece:
      if (before > 0) token = token.starts_with(step.text) ? token.substr(step.text.size()) : " " + token;
      return pass(step.cleanup ? without_artifacts(std::move(token)) : std::move(token));
    case Kind::bpe_suffix:
      token.swap(state.held);
      if (before > 0) pass(replaced(token, step.text, " "));
      return;
    case Kind::join:
      return pass(before > 0 ? " " + token : std::move(token));
  }
}

// The bytes so far end here: a text if they are one, else a sign of loss for each.
void TokenDecoder::fall_back(size_t index, DecoderStates& states, std::string& out) const {
  std::string bytes;
  bytes.swap(states[index].held);
  if (bytes.empty()) return;
  if (is_utf8(bytes)) return feed(index + 1, std::move(bytes), states, out);
  for (size_t i = 0; i < bytes.size(); ++i) feed(index + 1, std::string(replacement_character), states, out);
}

void TokenDecoder::strip_fused(size_t index, std::string_view part, DecoderStates& states, std::string& out) const {
  const Step& step = steps_[index];
  DecoderState& state = states[index];
  state.held += part;
  if (!state.begun) {
    const size_t cut = count_front(state.held, step.text, step.start - state.cut);
    state.held.erase(0, cut * step.text.size());
    state.cut += cut;
    if (state.held.empty()) return;
    state.begun = true;
  }
  const size_t kept = count_back(state.held, step.text, step.stop) * step.text.size();
  std::string text = state.held.substr(0, state.held.size() - kept);
  state.held.erase(0, text.size());
  feed(index + 1, std::move(text), states, out);
}

void TokenDecoder::end(size_t index, DecoderStates& states, std::string& out) const {
  const Step& step = steps_[index];
  std::string held;
  if (step.kind == Kind::byte_fallback) return fall_back(index, states, out);
  held.swap(states[index].held);
  if (step.kind == Kind::byte_level) held = lossy_utf8(held);
  if (step.kind == Kind::bpe_suffix) held = replaced(held, step.text, "");
  if (step.kind == Kind::strip) return;  // what it kept back is what it cuts off
  if (!held.empty()) feed(index + 1, std::move(held), states, out);
}

std::string TokenDecoder::bytes_of(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) {
    if (step.kind == Kind::byte_level) return from_byte_alphabet(text);
    if (step.kind == Kind::byte_fallback)
      if (const int byte = byte_of(text); byte >= 0) return std::string(1, static_cast<char>(byte));
    if (step.kind == Kind::metaspace) text = replaced(text, step.metaspace->replacement, " ");
    if (step.kind == Kind::replace) text = replaced(text, *step.pattern, step.text);
    if (step.kind == Kind::bpe_suffix) text = replaced(text, step.text, " ");
    if (step.kind == Kind::word_piece && text.starts_with(step.text)) text.erase(0, step.text.size());
  }
  return text;
}

}  // namespace trireme

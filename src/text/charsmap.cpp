#include "text/charsmap.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include "text/utf8.h"

namespace trireme {
namespace {

// A grapheme of at least this many bytes is never looked up as a whole.
constexpr size_t long_grapheme_bytes = 6;

std::string from_base64(const JsonField& field) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  std::string_view text = field.text();
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const size_t value = letters.find(c);
    if (value == std::string_view::npos) field.damaged(std::string_view(&c, 1), "base64");
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  return bytes;
}

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  return value;
}

// The layout of a unit of the trie, as darts-clone has it.
bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
uint32_t leaf_value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

}  // namespace

Charsmap::Charsmap(const JsonField& base64) {
  const std::string bytes = from_base64(base64);
  const uint32_t trie_bytes = bytes.size() < 4 ? 0 : little_endian(bytes);
  if (bytes.size() < 8 || trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4)
    base64.damaged(fmt::format("a trie of {} bytes in {}", trie_bytes, bytes.size()), "a trie that fits");
  for (size_t at = 4; at < 4 + trie_bytes; at += 4) units_.push_back(little_endian(std::string_view(bytes).substr(at)));
  texts_ = bytes.substr(4 + trie_bytes);
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  uint32_t node = offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    const uint32_t at = node < units_.size() ? leaf_value(units_[node]) : UINT32_MAX;
    if (at >= texts_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(texts_).substr(at);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

void Charsmap::apply(TextEdit& edit) const {
  const std::string_view text = edit.text();
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    // A grapheme: up to the next place where one may break.
    utf8proc_int32_t state = 0;
    char32_t last = next_code_point(text, end);
    for (size_t next = end; next < text.size(); end = next) {
      const char32_t c = next_code_point(text, next);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last), static_cast<utf8proc_int32_t>(c),
                                           &state))
        break;
      last = c;
    }
    const std::string_view grapheme = text.substr(begin, end - begin);
    if (grapheme.size() < long_grapheme_bytes)
      if (const auto found = find(grapheme)) {
        edit.replace(begin, end, *found);
        continue;
      }
    for (size_t at = begin, next = begin; at < end; at = next) {
      next_code_point(text, next);
      if (const auto found = find(text.substr(at, next - at))) edit.replace(at, next, *found);
    }
  }
}

}  // namespace trireme

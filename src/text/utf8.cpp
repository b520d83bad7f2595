#include "text/utf8.h"

#include <simdjson.h>

#include <cstdint>

namespace trireme {
namespace {

// The second byte of a sequence has its own range (Unicode standard, table 3-7): it keeps out overlong forms,
// surrogates and what lies past U+10FFFF.
struct LeadByte {
  size_t size;  // of the sequence; 0: no sequence begins so
  uint8_t second_low;
  uint8_t second_high;
};

LeadByte lead_byte(uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step utf8_step(std::string_view bytes) {
  using Kind = Utf8Step::Kind;
  const auto first = static_cast<uint8_t>(bytes[0]);
  if (first < 0x80) return {Kind::character, 1, first};
  const LeadByte lead = lead_byte(first);
  if (lead.size == 0) return {Kind::ill_formed, 1, 0};
  char32_t code_point = first & (0x7F >> lead.size);
  for (size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {Kind::unfinished, i, 0};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const bool fits = i == 1 ? byte >= lead.second_low && byte <= lead.second_high : (byte & 0xC0) == 0x80;
    if (!fits) return {Kind::ill_formed, i, 0};
    code_point = code_point << 6 | (byte & 0x3F);
  }
  return {Kind::character, lead.size, code_point};
}

bool is_utf8(std::string_view bytes) { return simdjson::validate_utf8(bytes.data(), bytes.size()); }

size_t append_lossy(std::string& out, std::string_view bytes) {
  if (is_utf8(bytes)) {
    out += bytes;
    return bytes.size();
  }
  size_t position = 0;
  while (position < bytes.size()) {
    const Utf8Step step = utf8_step(bytes.substr(position));
    if (step.kind == Utf8Step::Kind::unfinished) break;
    out += step.kind == Utf8Step::Kind::character ? bytes.substr(position, step.size) : replacement_character;
    position += step.size;
  }
  return position;
}

std::string lossy_utf8(std::string_view bytes) {
  std::string text;
  if (append_lossy(text, bytes) < bytes.size()) text += replacement_character;
  return text;
}

char32_t next_code_point(std::string_view text, size_t& position) {
  const Utf8Step step = utf8_step(text.substr(position));
  position += step.size;
  return step.code_point;
}

size_t code_point_start(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80);
  return end;
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    tail(12), tail(6), tail(0);
  }
}

}  // namespace trireme

#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace trireme {

// Appends JSON to a string: equal calls give equal bytes on every machine. Text is UTF-8 (a stray byte becomes U+FFFD),
// only what must be escaped is; a float is the shortest decimal that reads back as itself, and null when not finite.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  JsonWriter& key(std::string_view name) {
    separate();
    quote(name);
    out_ += ':';
    first_ = true;  // no comma before this key's value
    return *this;
  }
  JsonWriter& value(std::string_view text) {
    separate();
    quote(text);
    return *this;
  }
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool flag) { return raw(flag ? "true" : "false"); }
  JsonWriter& value(std::integral auto number) { return append_number(number); }
  JsonWriter& value(std::floating_point auto number) { return std::isfinite(number) ? append_number(number) : null(); }
  JsonWriter& null() { return raw("null"); }
  JsonWriter& raw(std::string_view json) {  // JSON already
    separate();
    out_ += json;
    return *this;
  }

 private:
  JsonWriter& open(char bracket) {
    separate();
    out_ += bracket;
    first_ = true;
    return *this;
  }
  JsonWriter& close(char bracket) {
    out_ += bracket;
    first_ = false;
    return *this;
  }
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  template <typename Number>
  JsonWriter& append_number(Number number) {
    char digits[32];  // the longest: a 64-bit integer (20) or a double (24)
    auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    return raw({digits, static_cast<size_t>(end - digits)});
  }
  void quote(std::string_view text) {
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      size_t end = i;  // of what stands as it is: most of a text
      while (end < text.size() && is_plain(text[end])) end++;
      out_ += text.substr(i, end - i);
      if ((i = end) == text.size()) break;
      size_t length = utf8_length_at(text, i);
      if (length == 1)
        append_ascii(text[i]);
      else if (length == 0)
        out_ += "\xef\xbf\xbd";
      else
        out_ += text.substr(i, length);
      i += length == 0 ? 1 : length;
    }
    out_ += '"';
  }
  static bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }
  void append_ascii(char c) {
    constexpr std::string_view special = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
    constexpr std::string_view hex = "0123456789abcdef";
    if (size_t at = special.find(c); at != special.npos) {
      out_ += '\\';
      out_ += letters[at];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out_ += "\\u00";
      out_ += hex[static_cast<unsigned char>(c) >> 4];
      out_ += hex[static_cast<unsigned char>(c) & 15];
    } else {
      out_ += c;
    }
  }

  std::string& out_;
  bool first_ = true;
};

}  // namespace trireme

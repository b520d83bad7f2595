#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja_value.h"
#include "text/unicode.h"
#include "text/utf8.h"

// How values become text: Python's str(), repr() and json.dumps(). The texts inside a value keep their origin.
namespace trireme {
namespace {

// Writes a value as source text; the two ways differ in their words and quotes.
class Writer {
 public:
  virtual ~Writer() = default;
  MarkedText take() { return std::move(out_); }

  void write(const JinjaValue& value, int depth) {
    if (depth > max_data_depth) fault("data is nested more than {} deep", max_data_depth);
    if (out_.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
    if (const MarkedText* text = as_text(value)) return write_text(*text);
    if (const JinjaList* list = as_list(value)) return write_list(*list, depth);
    if (const JinjaDict* dict = as_mapping(value)) return write_dict(*dict, depth);
    write_scalar(value);
  }

 protected:
  void put(std::string_view words) { out_.append(words, true); }

  virtual void write_text(const MarkedText& text) = 0;
  virtual void write_list(const JinjaList& list, int depth) = 0;
  virtual void write_dict(const JinjaDict& dict, int depth) = 0;
  virtual void write_scalar(const JinjaValue& value) = 0;

  // The text with `escape` of each code point that has one; an escape comes from where its character came from.
  template <typename Escape>
  void put_escaped(const MarkedText& text, const Escape& escape) {
    size_t done = 0;
    for (size_t position = 0; position < text.text.size();) {
      const size_t begin = position;
      const std::string replacement = escape(next_code_point(text.text, position));
      if (replacement.empty()) continue;
      out_.append(text.slice(done, begin));
      out_.append(replacement, text.origin(begin, position) == MarkedText::Origin::trusted);
      done = position;
    }
    out_.append(text.slice(done, text.text.size()));
  }

  MarkedText out_;
};

std::string control_escape(char32_t c, std::string_view other) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return fmt::format(fmt::runtime(other), static_cast<uint32_t>(c));
  }
}

class ReprWriter : public Writer {
  void write_text(const MarkedText& text) override {
    const bool has_single = text.text.find('\'') != std::string::npos,
               has_double = text.text.find('"') != std::string::npos;
    const char32_t quote = has_single && !has_double ? '"' : '\'';
    const std::string mark(1, static_cast<char>(quote));
    put(mark);
    put_escaped(text, [&](char32_t c) -> std::string {
      if (c == quote || c == '\\') return std::string("\\") + static_cast<char>(c);
      if (is_printable(c)) return "";
      return control_escape(c, c < 0x100 ? "\\x{:02x}" : c < 0x10000 ? "\\u{:04x}" : "\\U{:08x}");
    });
    put(mark);
  }

  void write_list(const JinjaList& list, int depth) override {
    put(list.is_tuple ? "(" : "[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i) put(", ");
      write(list.items[i], depth + 1);
    }
    put(list.is_tuple ? (list.items.size() == 1 ? ",)" : ")") : "]");
  }

  void write_dict(const JinjaDict& dict, int depth) override {
    put("{");
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      if (i) put(", ");
      write(dict.entries[i].first, depth + 1);
      put(": ");
      write(dict.entries[i].second, depth + 1);
    }
    put("}");
  }

  void write_scalar(const JinjaValue& value) override {
    if (is_undefined(value)) return put("Undefined");
    if (is_none(value)) return put("None");
    if (const bool* truth = as<bool>(value)) return put(*truth ? "True" : "False");
    if (const int64_t* number = as<int64_t>(value)) return put(std::to_string(*number));
    if (const double* number = as<double>(value)) return put(float_text(*number));
    fault("a {} cannot be written as text", type_name(value));
  }
};

class JsonWriter : public Writer {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

 private:
  void write_text(const MarkedText& text) override {
    put("\"");
    put_escaped(text, [this](char32_t c) -> std::string {
      if (c == '"' || c == '\\') return std::string("\\") + static_cast<char>(c);
      if (c == '\b') return "\\b";
      if (c == '\f') return "\\f";
      if (style_.ensure_ascii && c > 0xFFFF)  // two surrogates
        return fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0 + (static_cast<uint32_t>(c) >> 10), 0xDC00 + (c & 0x3FF));
      if (style_.ensure_ascii && c > 0x7E) return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
      return c < 0x20 ? control_escape(c, "\\u{:04x}") : "";
    });
    put("\"");
  }

  void new_line(int depth) {
    if (style_.indent >= 0) put("\n" + std::string(static_cast<size_t>(style_.indent) * depth, ' '));
  }

  void separate(size_t index, int depth) {
    if (index) put(style_.item_separator);
    new_line(depth + 1);
  }

  void write_list(const JinjaList& list, int depth) override {
    if (list.items.empty()) return put("[]");
    put("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      separate(i, depth);
      write(list.items[i], depth + 1);
    }
    new_line(depth);
    put("]");
  }

  void write_dict(const JinjaDict& dict, int depth) override {
    if (dict.entries.empty()) return put("{}");
    auto entries = dict.entries;
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    put("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      separate(i, depth);
      write_key(entries[i].first);
      put(style_.key_separator);
      write(entries[i].second, depth + 1);
    }
    new_line(depth);
    put("}");
  }

  void write_key(const JinjaValue& key) {
    if (const MarkedText* text = as_text(key)) return write_text(*text);
    put("\"");
    write_scalar(key);
    put("\"");
  }

  void write_scalar(const JinjaValue& value) override {
    if (is_none(value)) return put("null");
    if (const bool* truth = as<bool>(value)) return put(*truth ? "true" : "false");
    if (const int64_t* number = as<int64_t>(value)) return put(std::to_string(*number));
    const double* number = as<double>(value);
    if (!number) fault("a {} cannot be written as JSON", type_name(value));
    if (std::isnan(*number)) return put("NaN");
    if (std::isinf(*number)) return put(*number > 0 ? "Infinity" : "-Infinity");
    put(float_text(*number));
  }

  JsonStyle style_;
};

}  // namespace

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::array<char, 400> buffer;
  const double magnitude = std::fabs(number);
  // Python writes an exponent from 1e16 on and below 1e-4.
  const bool plain = number == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, format).ptr;
  std::string text(buffer.data(), end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

MarkedText to_text(const JinjaValue& value) {
  if (const MarkedText* text = as_text(value)) return *text;
  if (is_undefined(value)) return {};
  return to_repr(value);
}

MarkedText to_repr(const JinjaValue& value) {
  ReprWriter writer;
  writer.write(value, 0);
  return writer.take();
}

MarkedText to_json(const JinjaValue& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace trireme

#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "text/utf8.h"

namespace trireme {
namespace {

// Below this all characters are in NFC already, and none joins the one before it.
constexpr char32_t first_mark = 0x300;

int combining_class(utf8proc_int32_t code_point) { return utf8proc_get_property(code_point)->combining_class; }

// utf8proc's own ordering of marks is quadratic in their number; a document may hold a million of them.
void order_marks(std::vector<utf8proc_int32_t>& code_points) {
  const auto is_starter = [](utf8proc_int32_t code_point) { return combining_class(code_point) == 0; };
  for (auto begin = code_points.begin(); begin != code_points.end();) {
    begin = std::find_if_not(begin, code_points.end(), is_starter);
    const auto end = std::find_if(begin, code_points.end(), is_starter);
    std::stable_sort(begin, end, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

std::string to_nfc(std::string_view text) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const auto code_point = static_cast<utf8proc_int32_t>(next_code_point(text, position));
    std::array<utf8proc_int32_t, 4> parts;  // the longest canonical decomposition has 4 characters
    int last_class = 0;
    const auto count = utf8proc_decompose_char(code_point, parts.data(), parts.size(), UTF8PROC_DECOMPOSE, &last_class);
    must(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()), "a decomposition fits its buffer");
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
  order_marks(code_points);
  const auto count = utf8proc_normalize_utf32(code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
                                              static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  must(count >= 0, "utf8proc composes");
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(code_points[i]));
  return out;
}

// Bytes below 0xCC begin the characters below U+0300.
bool has_marks(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) >= 0xCC; });
}

// The first position from `border` on whose character cannot join the one before it.
size_t safe_border(std::string_view text, size_t border) {
  for (size_t position = border; position < text.size(); border = position)
    if (next_code_point(text, position) < first_mark) return border;
  return text.size();
}

}  // namespace

Normalizer::Normalizer(const JsonField& field) { add(field); }

void Normalizer::add(const JsonField& field) {
  if (field.is_null()) return;
  const std::string& type = field["type"].text();
  if (type == "NFC") {
    nfc_ = true;
  } else if (type == "Sequence") {
    for (const JsonField& step : field["normalizers"].elements()) {
      if (step["type"].text_or("") == "Sequence") step.unsupported("Sequence", "a flat Sequence");
      add(step);
    }
  } else {
    field["type"].unsupported(type, "NFC, Sequence");
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  return nfc_ && has_marks(text) ? to_nfc(text) : std::string(text);
}

MarkedText Normalizer::normalize(const MarkedText& text) const {
  if (!nfc_ || !has_marks(text.text)) return text;
  MarkedText out;
  size_t done = 0;
  const auto take_to = [&](size_t end, bool trusted) {
    if (done < end) out.append(normalize(std::string_view(text.text).substr(done, end - done)), trusted);
    done = std::max(done, end);
  };
  for (const MarkedText::Range& range : text.trusted) {
    take_to(safe_border(text.text, range.begin), false);
    const size_t end = safe_border(text.text, range.end);
    take_to(end, end == range.end);
  }
  take_to(text.text.size(), false);
  return out;
}

}  // namespace trireme

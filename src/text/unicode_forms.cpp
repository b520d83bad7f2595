#include "text/unicode_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "text/utf8.h"

namespace trireme {
namespace {

// Below this all characters are in NFC already, and none joins the one before it.
constexpr char32_t first_mark = 0x300;
constexpr unsigned char first_mark_byte = 0xCC;  // its UTF-8 begins so

bool composes(UnicodeForm form) { return form == UnicodeForm::nfc || form == UnicodeForm::nfkc; }
bool is_compatible(UnicodeForm form) { return form == UnicodeForm::nfkc || form == UnicodeForm::nfkd; }

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

std::string normalized(UnicodeForm form, std::string_view text) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  const int options = UTF8PROC_DECOMPOSE | (is_compatible(form) ? UTF8PROC_COMPAT : 0);
  for (size_t position = 0; position < text.size();) {
    const auto code_point = static_cast<utf8proc_int32_t>(next_code_point(text, position));
    std::array<utf8proc_int32_t, 18> parts;  // the longest decomposition, of U+FDFA, has 18 characters
    int last_class = 0;
    const auto count = utf8proc_decompose_char(code_point, parts.data(), parts.size(),
                                               static_cast<utf8proc_option_t>(options), &last_class);
    must(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()), "a decomposition fits its buffer");
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
  order_marks(code_points);
  auto count = static_cast<utf8proc_ssize_t>(code_points.size());
  if (composes(form))
    count = utf8proc_normalize_utf32(code_points.data(), count,
                                     static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  must(count >= 0, "utf8proc composes");
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(code_points[i]));
  return out;
}

bool is_conjoining_jamo(char32_t c) { return c >= 0x1100 && c <= 0x11FF; }

// In this form already, whatever stands beside it.
bool is_settled(UnicodeForm form, char32_t c) {
  if (c < 0x80) return true;
  if (c < first_mark && form == UnicodeForm::nfc) return true;
  if (is_conjoining_jamo(c)) return !composes(form);
  if (c >= 0xAC00 && c <= 0xD7A3) return composes(form);
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  if (property->combining_class != 0) return false;
  const bool has_decomposition =
      property->decomp_seqindex != UINT16_MAX && (is_compatible(form) || property->decomp_type == 0);
  if (has_decomposition) return false;
  const bool joins_back = property->comb_index != UINT16_MAX && (property->comb_index & 0x8000);
  return !composes(form) || !joins_back;
}

}  // namespace

void normalize(UnicodeForm form, TextEdit& edit) {
  const std::string_view text = edit.text();
  const unsigned char first_byte = form == UnicodeForm::nfc ? first_mark_byte : 0x80;
  const char32_t first = form == UnicodeForm::nfc ? first_mark : 0x80;
  const auto is_plain = [&](size_t at) { return static_cast<unsigned char>(text[at]) < first_byte; };
  size_t done = 0;
  for (size_t position = 0; position < text.size();) {
    while (position < text.size() && is_plain(position)) ++position;
    if (position == text.size()) break;
    // From the character before, which a mark may join, to the next safe border.
    const size_t begin = position > done ? code_point_start(text, position) : position;
    bool settled = true;
    size_t end = position;
    for (size_t next = end; next < text.size(); end = next) {
      const char32_t c = next_code_point(text, next);
      if (c < first) break;
      settled = settled && is_settled(form, c);
    }
    if (!settled) {
      const std::string_view stretch = text.substr(begin, end - begin);
      if (const std::string out = normalized(form, stretch); out != stretch) edit.replace(begin, end, out);
    }
    position = done = end;
  }
}

}  // namespace trireme

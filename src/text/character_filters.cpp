#include "text/character_filters.h"

#include "text/byte_level.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

// Calls change(code_point, begin, end) for each character from U+`first` on.
template <typename Change>
void each_character(TextEdit& edit, const Change& change) {
  const std::string_view text = edit.text();
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    const char32_t c = next_code_point(text, position);
    change(c, begin, position);
  }
}

template <typename Predicate>
void remove_if(TextEdit& edit, const Predicate& goes) {
  each_character(edit, [&](char32_t c, size_t begin, size_t end) {
    if (goes(c)) edit.remove(begin, end);
  });
}

bool is_any(char32_t c, std::u32string_view set) { return set.find(c) != std::u32string_view::npos; }

bool is_ideograph(char32_t c) {
  const auto between = [&](char32_t low, char32_t high) { return c >= low && c <= high; };
  // The ranges that BERT counts; the last but two begins at U+2B920 in tokenizers, where BERT's own has U+2B820.
  return between(0x4E00, 0x9FFF) || between(0x3400, 0x4DBF) || between(0x20000, 0x2A6DF) || between(0x2A700, 0x2B73F) ||
         between(0x2B740, 0x2B81F) || between(0x2B920, 0x2CEAF) || between(0xF900, 0xFAFF) || between(0x2F800, 0x2FA1F);
}

}  // namespace

void lowercase(TextEdit& edit) {
  each_character(edit, [&](char32_t c, size_t begin, size_t end) {
    if (c < 0x80 && !(c >= 'A' && c <= 'Z')) return;
    if (c == 0x130) return edit.replace(begin, end, "i\u0307");  // the one that becomes two
    const char32_t lower = to_lower(c);
    if (lower == c) return;
    std::string text;
    append_utf8(text, lower);
    edit.replace(begin, end, text);
  });
}

void strip_accents(TextEdit& edit) { remove_if(edit, is_mark); }

void strip_left(TextEdit& edit) {
  const std::string_view text = edit.text();
  size_t end = 0;
  for (size_t position = 0; position < text.size(); end = position)
    if (!is_white_space(next_code_point(text, position))) break;
  if (end > 0) edit.remove(0, end);
}

void strip_right(TextEdit& edit) {
  const std::string_view text = edit.text();
  size_t begin = text.size();
  while (begin > 0) {
    const size_t start = code_point_start(text, begin);
    size_t position = start;
    if (!is_white_space(next_code_point(text, position))) break;
    begin = start;
  }
  if (begin < text.size()) edit.remove(begin, text.size());
}

void clean_nmt(TextEdit& edit) {
  each_character(edit, [&](char32_t c, size_t begin, size_t end) {
    const bool control =
        (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    const bool blank = is_any(c, U"\t\n\f\r\u1680\u2028\u2029\u2581\uFEFF\uFFFD") || (c >= 0x200B && c <= 0x200F);
    if (control) edit.remove(begin, end);
    if (blank) edit.replace(begin, end, " ");
  });
}

void to_byte_letters(TextEdit& edit) {
  const std::string_view text = edit.text();
  for (size_t i = 0; i < text.size(); ++i)
    if (const auto byte = static_cast<unsigned char>(text[i]); byte_alphabet[byte] != byte || byte >= 0x80)
      edit.replace(i, i + 1, to_byte_alphabet(text.substr(i, 1)));
}

void clean_bert(TextEdit& edit) {
  each_character(edit, [&](char32_t c, size_t begin, size_t end) {
    const bool blank = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!blank && is_other(c)))
      edit.remove(begin, end);
    else if (c != ' ' && (blank || is_white_space(c)))
      edit.replace(begin, end, " ");
  });
}

void separate_ideographs(TextEdit& edit) {
  const std::string_view text = edit.text();
  each_character(edit, [&](char32_t c, size_t begin, size_t end) {
    if (is_ideograph(c)) edit.replace(begin, end, " " + std::string(text.substr(begin, end - begin)) + " ");
  });
}

void strip_nonspacing_marks(TextEdit& edit) { remove_if(edit, is_nonspacing_mark); }

}  // namespace trireme

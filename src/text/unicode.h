#pragma once

#include <string>
#include <string_view>

namespace trireme {

// Properties of code points, as far as tokenizers and templates ask for them. Case maps one code point to one.
bool is_white_space(char32_t code_point);   // the Unicode property
bool is_python_space(char32_t code_point);  // str.isspace(): the four separators U+001C to U+001F as well
bool is_numeric(char32_t code_point);       // any kind of number
bool is_decimal(char32_t code_point);
bool is_letter(char32_t code_point);
bool is_mark(char32_t code_point);
bool is_nonspacing_mark(char32_t code_point);
bool is_punctuation(char32_t code_point);     // what Unicode calls so, and all of ASCII's signs
bool is_other(char32_t code_point);           // control and format characters, private use
bool is_word_character(char32_t code_point);  // \w of Unicode TS 18: letters, marks, digits, joiners, connectors
bool is_printable(char32_t code_point);       // str.isprintable(): repr() escapes the others
char32_t to_upper(char32_t code_point);
char32_t to_lower(char32_t code_point);

}  // namespace trireme

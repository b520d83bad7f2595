#pragma once

#include "text/text_edit.h"

namespace trireme {

// The normalizers of a tokenizer.json that look at one character at a time.
void lowercase(TextEdit& edit);      // each by itself: no final sigma
void strip_accents(TextEdit& edit);  // removes all marks; whoever wants é to lose its accent decomposes first
void strip_left(TextEdit& edit);     // white space before the text
void strip_right(TextEdit& edit);    // and after it
void clean_nmt(TextEdit& edit);      // drops control characters, makes others blanks
void to_byte_letters(TextEdit& edit);

// BERT's four steps.
void clean_bert(TextEdit& edit);              // drops control characters, makes white space blanks
void separate_ideographs(TextEdit& edit);     // a blank before and after each
void strip_nonspacing_marks(TextEdit& edit);  // of text in NFD

}  // namespace trireme

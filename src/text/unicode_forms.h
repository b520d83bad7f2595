#pragma once

#include "text/text_edit.h"

namespace trireme {

// The normalization forms of Unicode (annex 15).
enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

// Stretches without a safe border inside change as one: where a mark could join what stands before a border of trust,
// it takes the border with it.
void normalize(UnicodeForm form, TextEdit& edit);

}  // namespace trireme

#pragma once

#include <cstdint>

#include "text/json_field.h"
#include "text/vocabulary.h"

namespace trireme {

// The id of the token that a tokenizer.json's `post_processor` puts before a text; -1: none. Nothing else of it matters
// to a prompt. Throws Error(bad_data) for a kind it does not know, by name.
int32_t first_special(const JsonField& field, const Vocabulary& vocabulary);

}  // namespace trireme

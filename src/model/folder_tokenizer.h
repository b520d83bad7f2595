#pragma once

#include <string>
#include <vector>

namespace trireme {

// What a Hugging Face folder says of text: tokenizer.json and the files around it.
struct FolderTokenizer {
  std::string tokenizer_json;  // with the added tokens that only tokenizer_config.json knows
  std::string chat_template;   // chat_template.jinja, else that of tokenizer_config.json, else ""
  int32_t bos_id = -1;         // of the tokenizer's own bos_token; -1: it has none
  int32_t eos_id = -1;
  bool adds_bos = false;  // the post-processor puts bos_id before a text
  bool named = false;     // there is a file that could name a bos_token: its silence means none

  // files: every file that was read is appended. Throws Error(bad_data) naming file and field.
  static FolderTokenizer read(const std::string& folder, bool follow_links, std::vector<std::string>* files);
};

}  // namespace trireme

// Reads JSON per line, writes JSON per line: what tests/text/differential.py compares with other implementations.
//   tokenize_lines TOKENIZER_JSON < lines
//   "text"                            -> ids of untrusted text
//   {"text": ..., "trusted": true}    -> ids of trusted text
//   {"pieces": [[text, trusted]...]}  -> ids of the pieces as one text
//   {"ids": [...], "skip_special": b} -> the decoded text
//   {"ids": [...], "stream": true}    -> the texts that a stream shows one by one, special tokens left out
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer.h"

namespace {

nlohmann::json answer(const trireme::Tokenizer& tokenizer, const nlohmann::json& line) {
  if (line.is_string()) return tokenizer.encode(line.get<std::string>());
  if (line.contains("text")) return tokenizer.encode(line["text"].get<std::string>(), line.value("trusted", false));
  if (line.contains("stream")) {
    trireme::StreamDecoder decoder(tokenizer);
    nlohmann::json shown = nlohmann::json::array();
    for (const int32_t id : line["ids"].get<std::vector<int32_t>>()) shown.push_back(decoder.push(id));
    shown.push_back(decoder.finish());
    return shown;
  }
  if (line.contains("ids"))
    return tokenizer.decode(line["ids"].get<std::vector<int32_t>>(), line.value("skip_special", true));
  std::vector<trireme::TextPiece> pieces;
  for (const auto& piece : line.at("pieces")) pieces.push_back({piece[0].get<std::string>(), piece[1].get<bool>()});
  return tokenizer.encode(pieces);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 64;
  std::ifstream file(argv[1]);
  const trireme::Tokenizer tokenizer(std::string(std::istreambuf_iterator<char>(file), {}));
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answer(tokenizer, nlohmann::json::parse(line)) << "\n";
  return 0;
} catch (const trireme::Error& error) {
  std::cerr << error.what() << "\n";
  return static_cast<int>(error.code());
}

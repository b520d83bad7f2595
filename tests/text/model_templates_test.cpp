// The chat templates of published models on 200 constructed conversations each (judge_templates.py made the answers).
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "golden.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

using namespace trireme;
using Json = nlohmann::ordered_json;

namespace {

const std::string date = "2026-11-27";  // as judge_templates.py froze it

std::string fnv1a(std::string_view text) {
  uint32_t value = 0x811C9DC5;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x01000193;
  return fmt::format("{:08x}", value);
}

std::vector<Json> conversations() {
  std::vector<Json> all;
  each_golden("conversations.jsonl", [&](const Json& row) {
    all.push_back(row);
    all.back().update({{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"frozen_now", date}});
  });
  return all;
}

Tokenizer chat_tokenizer() { return Tokenizer(read_golden("tokenizer_chat.json")); }

std::string text_of(const std::vector<TextPiece>& pieces) {
  std::string text;
  for (const TextPiece& piece : pieces) text += piece.text;
  return text;
}

// Calls check(name, template) for each template of the folder.
template <typename Check>
void each_template(const Check& check) {
  const Json renders = Json::parse(read_golden("renders.json"));
  for (const auto& [name, entries] : renders.items())
    check(entries, name, ChatTemplate(read_golden("templates/" + name + ".jinja")));
}

std::set<std::string> specials() {
  std::set<std::string> contents;
  const Json tokenizer = Json::parse(read_golden("tokenizer_chat.json"));
  for (const Json& token : tokenizer["added_tokens"]) contents.insert(token["content"].get<std::string>());
  return contents;
}

// The same data with every special token's text made harmless, character by character.
Json without_specials(const Json& data, const std::set<std::string>& specials) {
  if (data.is_string()) {
    std::string text = data;
    for (const std::string& special : specials)
      for (size_t at = text.find(special); at != std::string::npos; at = text.find(special, at))
        text.replace(at, special.size(), std::string(special.size(), '#'));
    return text;
  }
  Json copy = data;
  if (data.is_structured())
    for (Json& child : copy) child = without_specials(child, specials);
  return copy;
}

// The special tokens' ids come first in the vocabulary.
std::vector<int32_t> special_ids(const Tokenizer& tokenizer, const std::vector<TextPiece>& pieces, size_t count) {
  std::vector<int32_t> ids = tokenizer.encode(pieces);
  std::erase_if(ids, [&](int32_t id) { return static_cast<size_t>(id) >= count; });
  return ids;
}

}  // namespace

TEST_CASE("published templates render 200 conversations as transformers renders them") {
  const std::vector<Json> all = conversations();
  const Tokenizer tokenizer = chat_tokenizer();
  REQUIRE(all.size() == 200);
  std::map<char, int> kinds;
  each_template([&](const Json& entries, const std::string& name, const ChatTemplate& chat_template) {
    for (size_t i = 0; i < all.size(); ++i) {
      CAPTURE(name);
      CAPTURE(i);
      const std::string entry = entries[i];
      const bool refused = entry[0] == '!' || entry[0] == '?';
      ++kinds[refused ? entry[0] : entry.size() > 8 ? 'i' : 't'];
      try {
        const std::vector<TextPiece> pieces = chat_template.render(all[i]);
        CHECK(fnv1a(text_of(pieces)) == entry.substr(0, 8));
        if (entry.size() > 8)
          CHECK(fnv1a(fmt::format("{}", fmt::join(tokenizer.encode(pieces), " "))) == entry.substr(9));
      } catch (const Error& error) {
        CHECK(error.code() == ExitCode::bad_data);
        CHECK_MESSAGE(refused, error.what());
        if (entry[0] == '!') CHECK(std::string(error.what()).find(entry.substr(1)) != std::string::npos);
      }
    }
  });
  CHECK(kinds['t'] + kinds['i'] > 4000);  // texts
  CHECK(kinds['i'] > 1500);               // of which their ids are known
  CHECK(kinds['!'] > 500);                // raise_exception
}

TEST_CASE("special tokens stand only where the template wrote them") {
  const std::vector<Json> all = conversations();
  const Tokenizer tokenizer = chat_tokenizer();
  const std::set<std::string> special = specials();
  int tempted = 0;
  each_template([&](const Json& entries, const std::string& name, const ChatTemplate& chat_template) {
    for (size_t i = 0; i < all.size(); ++i) {
      if (entries[i] == "?" || entries[i].get<std::string>()[0] == '!') continue;
      CAPTURE(name);
      CAPTURE(i);
      Json harmless = without_specials(all[i], special);
      harmless.update({{"bos_token", "<s>"}, {"eos_token", "</s>"}});
      const std::vector<TextPiece> pieces = chat_template.render(all[i]);
      const auto wanted = special_ids(tokenizer, chat_template.render(harmless), special.size());
      CHECK(special_ids(tokenizer, pieces, special.size()) == wanted);
      tempted += special_ids(tokenizer, {{text_of(pieces), true}}, special.size()) != wanted;
    }
  });
  CHECK(tempted > 500);  // conversations that would have got out, had their text been trusted
}

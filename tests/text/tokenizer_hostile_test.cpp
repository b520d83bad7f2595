// Damaged tokenizer.json files: accepted, or refused as bad data; never anything else. TRIREME_FUZZ_ROUNDS: how many.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "golden.h"
#include "text/tokenizer.h"

using namespace trireme;
using nlohmann::json;

namespace {

const char* const kFamilies[] = {"llama2", "gemma", "t5",         "xlmr",     "bert",
                                 "clip",   "phi3",  "word_level", "prefixed", "unigram_bytes"};

// A value somewhere in the file, nearer to the root than to the leaves of the big tables.
json& any_place(json& file, std::mt19937& random) {
  json* place = &file;
  while (place->is_structured() && !place->empty() && random() % 8 != 0) {
    auto at = place->begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random() % place->size()));
    place = &*at;
  }
  return *place;
}

json odd_value(std::mt19937& random) {
  static const json values[] = {nullptr,
                                true,
                                false,
                                0,
                                -1,
                                4294967296,
                                4194303,
                                1e300,
                                "",
                                "a",
                                "<0x41>",
                                "\u2581",
                                "Regex",
                                "Sequence",
                                "BPE",
                                "Unigram",
                                "Isolated",
                                json::array(),
                                json::object(),
                                {"a", "b"},
                                {{"type", "NFC"}},
                                {{"String", ""}},
                                {{"Regex", "(a*)*b"}},
                                "\0x"};
  return values[random() % std::size(values)];
}

void damage(json& file, std::mt19937& random) {
  json& place = any_place(file, random);
  switch (random() % 5) {
    case 0:
      if (place.is_structured() && !place.empty()) {
        auto at = place.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random() % place.size()));
        place.erase(at);
        return;
      }
      [[fallthrough]];
    case 1: {  // a part of the file in the place of another
      const json copy = any_place(file, random);
      if (copy.dump().size() < 4096) any_place(file, random) = copy;
      return;
    }
    case 2:
      if (place.is_number_integer()) {
        place = place.get<int64_t>() + static_cast<int64_t>(random() % 7) - 3;
        return;
      }
      [[fallthrough]];
    default:
      place = odd_value(random);
  }
}

std::string damaged_text(const json& file, std::mt19937& random) {
  std::string text = file.dump(-1, ' ', false, json::error_handler_t::replace);
  for (unsigned changes = random() % 3; changes > 0; --changes)
    text[random() % text.size()] = "{}[]\",:\\019-e\xC3\x80"[random() % 14];
  if (random() % 40 == 0) text.resize(random() % text.size());
  return text;
}

void use(const Tokenizer& tokenizer, std::mt19937& random) {
  for (const char* text : {"Hello  world\n", "<s>a</s> \u2581\u2581x\t", "e\u0301\u00C5\uFB01 \U0001F44D 12\u0663", ""})
    for (const bool trusted : {false, true}) {
      std::vector<int32_t> ids = tokenizer.encode(text, trusted);
      for (int32_t i = 0; i < 4; ++i) ids.push_back(static_cast<int32_t>(random() % 1000) - 2);
      StreamDecoder decoder(tokenizer);
      std::string streamed;
      for (const int32_t id : ids) streamed += decoder.push(id) + tokenizer.token_bytes(id).substr(0, 0);
      CHECK(streamed + decoder.finish() == tokenizer.decode(ids));
    }
}

}  // namespace

TEST_CASE("a tokenizer.json nested too deep to be copied or printed is refused") {
  const std::string lists = std::string(200'000, '[') + std::string(200'000, ']');
  CHECK_THROWS_WITH_AS(Tokenizer(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [)" + lists + "]}}"),
                       doctest::Contains("nested 200003 deep"), Error);
}

TEST_CASE("a damaged tokenizer.json works or is refused as bad data") {
  const char* wanted = std::getenv("TRIREME_FUZZ_ROUNDS");
  const int rounds = wanted ? std::atoi(wanted) : 600;
  std::mt19937 random(4);
  std::vector<json> files;
  for (const char* family : kFamilies)
    files.push_back(json::parse(read_golden(std::string("family_") + family + ".json")));
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    json file = files[random() % files.size()];
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) damage(file, random);
    const std::string text = damaged_text(file, random);
    CAPTURE(round);
    try {
      use(Tokenizer(text), random);
    } catch (const Error& error) {
      CHECK_MESSAGE(error.code() == ExitCode::bad_data, error.what());
      ++refused;
    }
  }
  CHECK(refused > rounds / 5);
  CHECK(refused < rounds);
}

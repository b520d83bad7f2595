#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/error.h"
#include "job/document_reader.h"
#include "job/result_line.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

const std::string_view kSeeds[] = {
    R"({"id":"a1","text":"caf\u00e9 \ud83d\ude00","title":"T","tags":["x",{"y":[1,2.5e-3,null,true]}]})",
    R"({"id":-12,"prompt":"p","max_tokens":5,"temperature":0.7,"top_p":0.9,"top_k":3,"seed":1,"stop":["\n","b"],"ignore_eos":false})",
    R"( { "messages" : [ {"role":"system","content":"s"} , {"role":"user","content":"u"} ] , "x":{} } )",
    R"({"token_ids":[1,2,3,40000],"note":123456789012345678901234567890})",
    R"({"custom_id":"c","method":"POST","url":"/v1/completions","body":{"prompt":["x"],"logprobs":2,"n":1}})",
    R"({"body":{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"t"}]}],"logprobs":true,"top_logprobs":1,"stop":null,"tools":[]},"custom_id":"d","method":"POST","url":"/v1/chat/completions"})",
};

std::string mutate(std::string line, std::mt19937& random) {
  const std::string_view spice = "{}[]\",:\\0123456789.eE+-tfnu \t\r\x01\x7f\x80\xc3\xe2\xff";
  for (unsigned changes = random() % 4; changes > 0 && !line.empty(); changes--) {
    size_t at = random() % line.size();
    switch (random() % 5) {
      case 0:
        line[at] = spice[random() % spice.size()];
        break;
      case 1:
        line.erase(at, 1 + random() % 8);
        break;
      case 2:
        line.insert(at, 1, spice[random() % spice.size()]);
        break;
      case 3:
        line.resize(at);
        break;
      default:
        line.insert(at, line.substr(random() % line.size(), 1 + random() % 20));
    }
  }
  line.erase(std::remove(line.begin(), line.end(), '\n'), line.end());
  return line;
}

std::string noise(std::mt19937& random) {
  std::string line(1 + random() % 200, ' ');
  for (char& c : line) c = static_cast<char>(random());
  line.erase(std::remove(line.begin(), line.end(), '\n'), line.end());
  return line;
}

bool blank(const std::string& line) { return line.find_first_not_of(" \t\r\f\v") == line.npos; }

}  // namespace

TEST_CASE("random and mutated lines: each non-blank one is exactly one row, and every result is JSON") {
  std::mt19937 random(2026);
  std::string input;
  uint64_t expected = 0;
  for (int i = 0; i < 100000; i++) {
    std::string line = i % 10 == 0 ? noise(random) : mutate(std::string(kSeeds[random() % std::size(kSeeds)]), random);
    expected += !blank(line);
    input += line + "\n";
  }
  testkit::TempFolder folder;
  std::string path = folder.put("in.jsonl", input);
  CHECK(survey_input(path).rows == expected);
  DocumentReader reader(Corpus::open(path));
  uint64_t rows = 0, documents = 0;
  std::set<std::string> codes;
  for (; auto result = reader.next(); rows++) {
    std::string line;
    if (auto* error = std::get_if<RowError>(&*result)) {
      codes.insert(error->code);
      line = error_line(*error);
      REQUIRE(error->header.row == rows);
    } else {
      documents++;
      Completion completion;
      completion.finish_reason = "stop";
      line = result_line(std::get<Document>(*result).header, completion, {.with_token_ids = true});
    }
    REQUIRE_MESSAGE(nlohmann::json::accept(line), line);
    REQUIRE(line.find_first_of("\n\r") == line.npos);
  }
  CHECK(rows == expected);
  CHECK(documents > 100);
  for (const char* code : {"bad_json", "bad_utf8", "bad_field", "duplicate_id", "unsupported", "nul_byte"})
    CHECK(codes.count(code));
}

// What simdjson lets through must be what another parser accepts, and the other way round.
TEST_CASE("a line is bad JSON exactly when nlohmann's parser says so too") {
  std::mt19937 random(7);
  DocumentParser parser;
  for (int i = 0; i < 100000; i++) {
    std::string line = mutate(std::string(kSeeds[random() % std::size(kSeeds)]), random);
    if (blank(line)) continue;
    Row row;
    row.text = line;
    auto result = parser.parse(std::move(row));
    auto* error = std::get_if<RowError>(&result);
    bool refused = error && (error->code == "bad_json" || error->code == "bad_utf8" || error->code == "nul_byte");
    auto json = nlohmann::json::parse(line, nullptr, false);
    if (!refused) REQUIRE_MESSAGE(json.is_object(), line);
    // The other parser keeps the last of two equal keys and reads a number too large as a fault.
    bool ours_alone = refused && json.is_object() && error->message.find("stands twice") == std::string::npos;
    if (ours_alone) FAIL(line, " -> ", error->message);
  }
}

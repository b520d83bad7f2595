#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "job/document_reader.h"

using namespace trireme;
using namespace std::literals;

namespace {

DocumentOrError parse(std::string_view line) {
  DocumentParser parser;
  Row row;
  row.number = 6;
  row.line = 7;
  row.byte = 1000;
  row.text = line;
  return parser.parse(std::move(row));
}

Document good(std::string_view line) {
  auto result = parse(line);
  auto* error = std::get_if<RowError>(&result);
  REQUIRE_MESSAGE(!error, line, " -> ", error ? error->message : "");
  return std::get<Document>(std::move(result));
}

RowError bad(std::string_view line) {
  auto result = parse(line);
  REQUIRE_MESSAGE(std::holds_alternative<RowError>(result), line);
  return std::get<RowError>(std::move(result));
}

struct MalformedRow {
  std::string what, code, says, line;
};

// "<<e9>>" is a byte, "<<[*200>>" 200 times "[".
std::string expanded(std::string_view text) {
  std::string line;
  for (size_t start; (start = text.find("<<")) != text.npos;) {
    size_t end = text.find(">>", start);
    REQUIRE(end != text.npos);
    std::string inside(text.substr(start + 2, end - start - 2));
    line += text.substr(0, start);
    text.remove_prefix(end + 2);
    if (size_t times = inside.rfind('*'); times != inside.npos)
      for (int i = std::stoi(inside.substr(times + 1)); i > 0; i--) line += inside.substr(0, times);
    else
      line += static_cast<char>(std::stoi(inside, nullptr, 16));
  }
  return line + std::string(text);
}

std::vector<MalformedRow> malformed_rows() {
  const char* path = std::getenv("TRIREME_MALFORMED_ROWS");
  REQUIRE_MESSAGE(path, "meson test sets it");
  std::ifstream file(path);
  std::vector<MalformedRow> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    MalformedRow row;
    std::string* columns[] = {&row.what, &row.code, &row.says};
    std::string_view rest = line;
    for (std::string* column : columns) {
      size_t bar = rest.find(" | ");
      REQUIRE_MESSAGE(bar != rest.npos, line);
      *column = rest.substr(0, bar);
      rest.remove_prefix(bar + 3);
    }
    row.line = expanded(rest);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

TEST_CASE("malformed rows: each is one error row with a code, and says what is wrong") {
  auto cases = malformed_rows();
  CHECK(cases.size() >= 130);
  for (const MalformedRow& c : cases) {
    CAPTURE(c.what);
    RowError error = bad(c.line);
    CHECK_MESSAGE(error.code == c.code, error.message);
    CHECK_MESSAGE(error.message.find(c.says) != std::string::npos, error.message);
    CHECK(!error.message.empty());
    CHECK(error.header.row == 6);
    CHECK(error.header.line == 7);
    CHECK(error.header.byte >= 1000);
    CHECK(error.header.byte <= 1000 + static_cast<int64_t>(c.line.size()));
  }
}

TEST_CASE("an error row keeps its id and its own fields when they could be read, else its line number") {
  RowError error = bad(R"({"max_tokens":-1,"id":"a7","title":"T"})");
  CHECK(error.header.id == DocumentId{false, "a7"});
  CHECK(error.header.input == R"({"title":"T"})");
  CHECK(bad("{").header.id == DocumentId{true, "7"});
  CHECK(bad(R"({"custom_id":"c","url":"u","body":{}})").header.id == DocumentId{false, "c"});
  CHECK(bad(R"({"custom_id":"c","url":"u","body":{}})").header.input.empty());
}

TEST_CASE("the byte of an error is the offending one where it is known") {
  CHECK(bad("{\"text\":\"ab\xff\"}").header.byte == 1000 + 11);
  CHECK(bad("{\"text\":\"ab\0\"}"s).header.byte == 1000 + 11);
  CHECK(bad("{}").header.byte == 1000);
}

TEST_CASE("the four contents") {
  CHECK(good(R"({"text":"a\u00e9\n"})").content == "a\xc3\xa9\n");
  CHECK(good(R"({"text":""})").content.empty());
  CHECK(good(R"({"prompt":"p"})").kind == ContentKind::prompt);
  Document chat = good(R"({"messages":[ {"role":"user","content":"hi","name":"N"} ]})");
  CHECK(chat.kind == ContentKind::messages);
  CHECK(chat.content == R"([ {"role":"user","content":"hi","name":"N"} ])");
  CHECK(good(R"({"token_ids":[1,0,2147483647]})").token_ids == std::vector<int32_t>{1, 0, 2147483647});
  CHECK(good(R"({"token_ids":[]})").token_ids.empty());
}

TEST_CASE("ids keep their type") {
  CHECK(good(R"({"id":"1","text":""})").header.id == DocumentId{false, "1"});
  CHECK(good(R"({"id":1,"text":""})").header.id == DocumentId{true, "1"});
  CHECK(good(R"({"id":-9223372036854775808,"text":""})").header.id == DocumentId{true, "-9223372036854775808"});
  CHECK(good(R"({"id":18446744073709551615,"text":""})").header.id == DocumentId{true, "18446744073709551615"});
  CHECK(good(R"({"text":""})").header.id == DocumentId{true, "7"});
  CHECK(DocumentId{true, "1"}.key() != DocumentId{false, "1"}.key());
  CHECK(DocumentId{false, "a"}.key() == xxh3("s:a"));
}

TEST_CASE("sampling overrides, only what the row says") {
  Document document =
      good(R"({"text":"","max_tokens":0,"temperature":1,"top_p":0.5,"top_k":3,"seed":18446744073709551615,)"
           R"("stop":["a","b"],"ignore_eos":true})");
  SamplingParams params;
  document.sampling.apply_to(params);
  CHECK(params.max_tokens == 0);
  CHECK(params.temperature == 1.0f);
  CHECK(params.top_p == 0.5f);
  CHECK(params.top_k == 3);
  CHECK(params.seed == 18446744073709551615u);
  CHECK(params.stop == std::vector<std::string>{"a", "b"});
  CHECK(params.ignore_eos);

  SamplingParams defaults;
  defaults.stop = {"END"};
  defaults.max_tokens = 9;
  good(R"({"text":""})").sampling.apply_to(defaults);
  CHECK(defaults.stop == std::vector<std::string>{"END"});
  CHECK(defaults.max_tokens == 9);
  CHECK(good(R"({"text":"","stop":"x"})").sampling.stop == std::vector<std::string>{"x"});
}

TEST_CASE("other fields are carried as they were written, without the space between them") {
  CHECK(
      good(
          R"({"a": 1.0, "id":"x", "text":"", "b" : { "c" : [ 1 , "two words" ] } , "d":123456789012345678901234567890, "e":1e-999,"f":null})")
          .header.input ==
      R"({"a":1.0,"b":{"c":[1,"two words"]},"d":123456789012345678901234567890,"e":1e-999,"f":null})");
  CHECK(good(R"({"text":""})").header.input.empty());
  CHECK(good("{\"text\":\"\",\"a\":[1,\r2]}").header.input == R"({"a":[1,2]})");
  CHECK(good(R"({"text":"","a\"b":"\u0000\ud83d\ude00"})").header.input == R"({"a\"b":"\u0000\ud83d\ude00"})");
}

#include <doctest/doctest.h>

#include <string>
#include <string_view>

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

std::string nested(int depth) {
  return R"({"text":"a","x":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
}

std::string stops(int count) {
  std::string line = R"({"text":"a","stop":[)";
  for (int i = 0; i < count; i++) line += i ? ",\"x\"" : "\"x\"";
  return line + "]}";
}

}  // namespace

TEST_CASE("malformed rows: each is one error row with a code, and says what is wrong") {
  struct Case {
    std::string line;
    const char* code;
    const char* says;  // part of the message
  };
  const Case cases[] = {
      // not JSON
      {"hello", "bad_json", ""},
      {"{", "bad_json", ""},
      {"}", "bad_json", ""},
      {R"({"text":"a")", "bad_json", ""},
      {R"({"text":"a)", "bad_json", ""},
      {R"({"text":"a",})", "bad_json", ""},
      {R"({"text" "a"})", "bad_json", ""},
      {R"({text:"a"})", "bad_json", ""},
      {R"({'text':'a'})", "bad_json", ""},
      {R"({"text":"a"} x)", "bad_json", ""},
      {R"({"text":"a"}{"text":"b"})", "bad_json", ""},
      {R"({"text":"a"}})", "bad_json", ""},
      {R"(["text","a"])", "bad_json", "a row must be a JSON object"},
      {R"("text")", "bad_json", "a row must be a JSON object"},
      {"12", "bad_json", "a row must be a JSON object"},
      {"null", "bad_json", "a row must be a JSON object"},
      {R"({"text":"a","x":NaN})", "bad_json", ""},
      {R"({"text":"a","x":Infinity})", "bad_json", ""},
      {R"({"text":"a","x":tru})", "bad_json", "tru is no JSON value"},
      {R"({"text":"a","x":01})", "bad_json", "01 is no JSON value"},
      {R"({"text":"a","x":1.})", "bad_json", "1. is no JSON value"},
      {R"({"text":"a","x":+1})", "bad_json", ""},
      {R"({"text":"a","x":0x10})", "bad_json", ""},
      {R"({"text":"a","x":[1,2})", "bad_json", ""},
      {R"({"text":"a","x":[1 2]})", "bad_json", ""},
      {R"({"text":"a","x":{"y":1]})", "bad_json", ""},
      {R"({"text":"a\x"})", "bad_json", ""},
      {R"({"text":"lone surrogate \ud800"})", "bad_json", ""},
      {R"({"text":"lone surrogate \udc00"})", "bad_json", ""},
      {R"({"x":"\ud800","text":"a"})", "bad_json", ""},
      {"{\"text\":\"a raw \t tab\"}", "bad_json", ""},
      {"\xef\xbb\xbf{\"text\":\"a byte order mark inside the file\"}", "bad_json", ""},
      {R"({"text":"a","text":"b"})", "bad_json", "key \"text\" stands twice"},
      {R"({"text":"a","x":{"y":1,"\u0079":2}})", "bad_json", "key \"y\" stands twice"},
      {nested(200), "bad_json", "nested deeper than 128"},
      {nested(100000), "bad_json", "nested deeper than 128"},
      {R"({"text":"a","x":)" + std::string(100000, '['), "bad_json", ""},
      // not text
      {"{\"text\":\"latin-1 \xe9\"}", "bad_utf8", "byte 0xe9"},
      {"{\"text\":\"overlong \xc0\xaf\"}", "bad_utf8", "byte 0xc0"},
      {"{\"text\":\"surrogate \xed\xa0\x80\"}", "bad_utf8", "byte 0xed"},
      {"{\"text\":\"cut \xe2\x82", "bad_utf8", "byte 0xe2"},
      {"\xff\xfe{\0"s, "nul_byte", "NUL"},
      {"{\"text\":\"a\0b\"}"s, "nul_byte", "NUL"},
      // not a document
      {"{}", "bad_field", "exactly one of text, prompt, messages and token_ids, not 0"},
      {R"({"Text":"a"})", "bad_field", "not 0"},
      {R"({"text":"a","prompt":"b"})", "bad_field", "not 2"},
      {R"({"text":null})", "bad_field", "text must be a string, not null"},
      {R"({"text":5})", "bad_field", "text must be a string, not 5"},
      {R"({"prompt":["a"]})", "bad_field", "prompt must be a string"},
      {R"({"messages":"hi"})", "bad_field", "messages must be an array"},
      {R"({"messages":[]})", "bad_field", "messages must not be empty"},
      {R"({"messages":["hi"]})", "bad_field", "a message must be an object"},
      {R"({"messages":[{"role":"user"}]})", "bad_field", "a role and a content"},
      {R"({"messages":[{"content":"hi"}]})", "bad_field", "a role and a content"},
      {R"({"messages":[{"role":"","content":"hi"}]})", "bad_field", "must not be empty"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "bad_field",
       "content of a message must be a string"},
      {R"({"token_ids":"1 2"})", "bad_field", "token_ids must be an array"},
      {R"({"token_ids":[1,2.5]})", "bad_field", "a token id must be an integer, not 2.5"},
      {R"({"token_ids":[1,"2"]})", "bad_field", "a token id must be an integer"},
      {R"({"token_ids":[-1]})", "bad_token", "token id -1"},
      {R"({"token_ids":[2147483648]})", "bad_token", "token id 2147483648"},
      // ids
      {R"({"id":1.5,"text":"a"})", "bad_field", "id must be a string or an integer"},
      {R"({"id":null,"text":"a"})", "bad_field", "id must be"},
      {R"({"id":18446744073709551616,"text":"a"})", "bad_field", "id must be"},
      {R"({"id":["a"],"text":"a"})", "bad_field", "id must be"},
      // sampling
      {R"({"text":"a","max_tokens":-1})", "bad_field", "max_tokens must be an integer from 0"},
      {R"({"text":"a","max_tokens":2147483648})", "bad_field", "max_tokens"},
      {R"({"text":"a","max_tokens":10.0})", "bad_field", "max_tokens"},
      {R"({"text":"a","max_tokens":"10"})", "bad_field", "max_tokens"},
      {R"({"text":"a","max_tokens":99999999999999999999999})", "bad_field", "max_tokens"},
      {R"({"text":"a","temperature":-0.1})", "bad_field", "temperature"},
      {R"({"text":"a","temperature":1e999})", "bad_json", "the number 1e999 is too large"},
      {R"({"text":"a","temperature":1e99})", "bad_field", "temperature"},
      {R"({"text":"a","temperature":"hot"})", "bad_field", "temperature must be a number from 0 to 100, not \"hot\""},
      {R"({"text":"a","top_p":0})", "bad_field", "top_p"},
      {R"({"text":"a","top_p":1.01})", "bad_field", "top_p"},
      {R"({"text":"a","top_k":-1})", "bad_field", "top_k"},
      {R"({"text":"a","top_k":1e3})", "bad_field", "top_k"},
      {R"({"text":"a","seed":-1})", "bad_field", "seed"},
      {R"({"text":"a","seed":18446744073709551616})", "bad_field", "seed"},
      {R"({"text":"a","stop":5})", "bad_field", "stop"},
      {R"({"text":"a","stop":[""]})", "bad_field", "a stop text has 0 bytes"},
      {R"({"text":"a","stop":["x",1]})", "bad_field", "stop"},
      {stops(100000), "bad_field", "stop has more than 64 texts"},
      {R"({"text":"a","ignore_eos":1})", "bad_field", "ignore_eos must be true or false"},
      // the batch-request format has its room
      {R"({"custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{"n":1}})", "unsupported",
       "batch-request"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.line.substr(0, 100));
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

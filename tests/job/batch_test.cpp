// The batch-request format: what a row asks for, and what its result looks like. tests/inputs/batch.py checks results
// of `trireme run` against the published schema; tests/job/malformed_rows.txt has the rows that are refused.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/hash.h"
#include "job/document_reader.h"
#include "job/document_wire.h"
#include "job/messages.h"
#include "job/result_line.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

std::string request(const std::string& url, const std::string& body) {
  return R"({"custom_id":"c1","method":"POST","url":")" + url + R"(","body":)" + body + "}";
}
std::string chat(const std::string& fields) {
  return request("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}])" + fields + "}");
}
std::string completion(const std::string& body) { return request("/v1/completions", body); }

Document good(std::string line) {
  DocumentParser parser;
  Row row;
  row.number = 6;
  row.line = 7;
  row.text = std::move(line);
  auto result = parser.parse(std::move(row));
  auto* error = std::get_if<RowError>(&result);
  REQUIRE_MESSAGE(!error, "refused: ", error ? error->message : "");
  return std::get<Document>(std::move(result));
}

SamplingParams sampling(const std::string& line) {
  SamplingParams params;
  good(line).sampling.apply_to(params);
  return params;
}

// Tokens of the results below: 1 is "He", 2 "llo", 3 half a character.
ResultStyle style() {
  return {.with_token_ids = false, .token_bytes = [](int32_t id) -> std::string {
            return id == 1 ? "He" : id == 2 ? "llo" : "\xe2\x82";
          }};
}

Completion hello() {
  Completion done;
  done.text = "Hello";
  done.finish_reason = "stop";
  done.prompt_tokens = 10;
  done.completion_tokens = 2;
  done.token_ids = {1, 2};
  return done;
}

}  // namespace

TEST_CASE("a chat request: its messages by the template, its id, its name for the model") {
  Document document = good(chat(R"(,"model":"gpt-x")"));
  CHECK(document.kind == ContentKind::messages);
  CHECK(document.content == R"([{"role":"user","content":"Hi"}])");
  CHECK(document.header.id == DocumentId{false, "c1"});
  CHECK(document.header.form == RowForm::chat);
  CHECK(document.header.model == "gpt-x");
  CHECK(document.header.input.empty());
}

TEST_CASE("the fields of a request stand in any order, spelled with escapes too") {
  Document document = good(
      R"({"body":{"max_tokens":3,"prompt":"p","model":"m"},"url":"\/v1\/completions","method":"POST","custom\u005fid":"z"})");
  CHECK(document.header.id.text == "z");
  CHECK(document.kind == ContentKind::prompt);
  CHECK(document.content == "p");
  CHECK(document.sampling.max_tokens == 3);
}

TEST_CASE("a prompt is a text, an array of one, token ids, or an array of one list of them") {
  CHECK(good(completion(R"({"prompt":["p"]})")).content == "p");
  CHECK(good(completion(R"({"prompt":[1,2]})")).token_ids == std::vector<int32_t>{1, 2});
  CHECK(good(completion(R"({"prompt":[[1,2]]})")).token_ids == std::vector<int32_t>{1, 2});
  CHECK(good(completion(R"({"prompt":[[1,2]]})")).kind == ContentKind::token_ids);
}

TEST_CASE("content parts become one text, a line end between them; in our own messages too") {
  Document document = good(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a\u00e9"},{"text":"b","type":"text"}]},{"role":"assistant","content":"c"}]})");
  auto messages = parse_messages(document.content);
  CHECK(messages[0]["content"] == "a\xc3\xa9\nb");
  CHECK(messages[1]["content"] == "c");
}

TEST_CASE("sampling comes from the body; what it leaves out, or null, from the command line") {
  SamplingParams params = sampling(chat(
      R"(,"max_completion_tokens":5,"temperature":0.5,"top_p":0.9,"top_k":3,"seed":7,"stop":["x"],"ignore_eos":true)"));
  CHECK(params.max_tokens == 5);
  CHECK(params.temperature == 0.5f);
  CHECK(params.top_p == 0.9f);
  CHECK(params.top_k == 3);
  CHECK(params.seed == 7);
  CHECK(params.stop == std::vector<std::string>{"x"});
  CHECK(params.ignore_eos);
  params = sampling(chat(R"(,"max_tokens":null,"temperature":null,"stop":null,"seed":null,"logprobs":null)"));
  CHECK(params.max_tokens == SamplingParams().max_tokens);
  CHECK(params.logprobs == -1);
  CHECK(sampling(chat(R"(,"max_tokens":4,"max_completion_tokens":4)")).max_tokens == 4);
}

TEST_CASE("log-probs: true and a number for a chat, a number for a completion; false turns the command line's off") {
  CHECK(sampling(chat(R"(,"logprobs":true)")).logprobs == 0);
  CHECK(sampling(chat(R"(,"top_logprobs":20,"logprobs":true)")).logprobs == 20);
  CHECK(sampling(completion(R"({"prompt":"p","logprobs":5})")).logprobs == 5);
  SamplingParams params;
  params.logprobs = 3;
  good(chat(R"(,"logprobs":false)")).sampling.apply_to(params);
  CHECK(params.logprobs == -1);
}

TEST_CASE("fields that ask for nothing more, or cannot show in a result, are taken") {
  good(chat(R"(,"n":1,"stream":false,"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"tools":[],)"
            R"("tool_choice":"none","response_format":{"type": "text"},"modalities":["text"],"stream_options":null)"));
  good(chat(R"(,"user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto","parallel_tool_calls":true)"));
  good(completion(R"({"prompt":"p","best_of":1,"echo":false,"suffix":null,"logprobs":null})"));
  good(request("/v1/chat/completions",
               R"({"messages":[{"role":"assistant","content":"a","name":"N","tool_calls":[],"refusal":null}]})"));
}

TEST_CASE("a document of our own may have a url and a body") {
  Document document = good(R"({"id":"a","text":"t","url":"http://x","body":"b","method":"GET","custom_id":"k"})");
  CHECK(document.header.form == RowForm::own);
  CHECK(document.header.input == R"({"url":"http://x","body":"b","method":"GET","custom_id":"k"})");
}

TEST_CASE("a request with the id of another row is an error row of its own form") {
  testkit::TempFolder folder;
  std::string path = folder.put("in.jsonl", R"({"id":"c1","text":"a"})"
                                            "\n" +
                                                completion(R"({"prompt":"a"})") + "\n" + completion("{}") + "\n");
  DocumentReader reader(Corpus::open(path), 5);
  reader.next();
  auto twice = std::get<RowError>(*reader.next());
  CHECK(twice.code == "duplicate_id");
  const std::string key = hex16(xxh3(hex16(5) + " 1 c1"));
  CHECK(
      error_line(twice) ==
      R"({"id":"batch_req_)" + key + R"(","custom_id":"c1","response":{"status_code":400,"request_id":"req_)" + key +
          R"(","body":{"error":{"message":"id c1 was in an earlier row already; ids must differ",)"
          R"("type":"invalid_request_error","param":"custom_id","code":"duplicate_id","line":2,"byte":23}}},"error":null})");
  auto again = std::get<RowError>(*reader.next());
  CHECK(again.code == "duplicate_id");
  CHECK(error_line(again).find(key) == std::string::npos);  // every line has ids of its own
}

TEST_CASE("a request survives the wire") {
  Document document = good(chat(R"(,"model":"m","logprobs":true)"));
  document.header.request_key = 77;
  WireWriter wire;
  put_document(wire, document);
  WireReader reader(wire.data());
  Document copy = get_document(reader);
  CHECK(copy.header.form == RowForm::chat);
  CHECK(copy.header.model == "m");
  CHECK(copy.header.request_key == 77);
  CHECK(copy.sampling.logprobs == 0);
}

TEST_CASE("the result of a chat") {
  RowHeader header{6, 7, 0, {false, "c\"1"}, "", RowForm::chat, "gpt-x", 0xabc};
  CHECK(result_line(header, hello(), style()) ==
        R"({"id":"batch_req_0000000000000abc","custom_id":"c\"1","response":{"status_code":200,)"
        R"("request_id":"req_0000000000000abc","body":{"id":"chatcmpl-0000000000000abc","object":"chat.completion",)"
        R"("created":0,"model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"Hello",)"
        R"("refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":10,)"
        R"("completion_tokens":2,"total_tokens":12}}},"error":null})");
}

TEST_CASE("log-probs of a chat spell tokens and their bytes; our extras stand in the choice") {
  RowHeader header{6, 7, 0, {false, "c"}, "", RowForm::chat, "m", 1};
  Completion done = hello();
  done.logprobs = {{1, -0.5f, {{1, -0.5f}, {3, -2.f}}}};
  done.prompt_logprobs = {std::nullopt};
  done.digest = "00ff";
  ResultStyle with = style();
  with.with_token_ids = true;
  auto choice = nlohmann::json::parse(result_line(header, done, with))["response"]["body"]["choices"][0];
  CHECK(choice["logprobs"] == nlohmann::json::parse(
                                  R"({"content":[{"token":"He","logprob":-0.5,"bytes":[72,101],"top_logprobs":[
      {"token":"He","logprob":-0.5,"bytes":[72,101]},{"token":"bytes:\\xe2\\x82","logprob":-2,"bytes":[226,130]}]}],"refusal":null})"));
  CHECK(choice["token_ids"] == nlohmann::json::parse("[1,2]"));
  CHECK(choice["prompt_logprobs"] == nlohmann::json::parse("[null]"));
  CHECK(choice["digest"] == "00ff");
}

TEST_CASE("log-probs of a completion are four lists; of two tokens that read alike the likelier stands") {
  RowHeader header{6, 7, 0, {false, "c"}, "", RowForm::completions, "m", 1};
  Completion done = hello();
  done.logprobs = {{1, -0.5f, {{1, -0.5f}, {3, -2.f}, {4, -3.f}}}, {2, -1.f, {}}};
  auto body = nlohmann::json::parse(result_line(header, done, style()))["response"]["body"];
  CHECK(body["object"] == "text_completion");
  CHECK(body["choices"][0]["text"] == "Hello");
  CHECK(body["choices"][0]["logprobs"] == nlohmann::json::parse(R"({"tokens":["He","llo"],"token_logprobs":[-0.5,-1],
      "top_logprobs":[{"He":-0.5,"bytes:\\xe2\\x82":-2},{}],"text_offset":[0,2]})"));
}

TEST_CASE("numbers that are not finite are our fault, all else the request's") {
  RowHeader header{6, 7, 9, {false, "c"}, "", RowForm::completions, "m", 1};
  Completion done;
  done.error_code = "numerical_error";
  done.error_message = "NaN";
  auto response = nlohmann::json::parse(result_line(header, done, style()))["response"];
  CHECK(response["status_code"] == 500);
  CHECK(response["body"]["error"] ==
        nlohmann::json::parse(
            R"({"message":"NaN","type":"server_error","param":null,"code":"numerical_error","line":7,"byte":9})"));
}

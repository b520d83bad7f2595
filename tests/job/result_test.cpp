#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json_writer.h"
#include "job/result_line.h"

using namespace trireme;

namespace {

template <typename T>
std::string json_of(T value) {
  std::string out;
  JsonWriter(out).value(value);
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

// A number's digits and power of ten, however it is written: "1.50e+3" and "1500" are "15e2".
std::string decimal(const std::string& text) {
  size_t e = text.find('e'), end = std::min(e, text.size());
  int power = e == text.npos ? 0 : std::stoi(text.substr(e + 1));
  std::string sign = text.starts_with('-') ? "-" : "", digits = text.substr(sign.size(), end - sign.size());
  if (size_t point = digits.find('.'); point != digits.npos) {
    power -= static_cast<int>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  for (; digits.ends_with('0'); power++) digits.pop_back();
  return sign + digits + "e" + std::to_string(power);
}

// The same shortest decimal; or a whole number written out with all its digits, where that is no longer.
template <typename T>
bool same_number(T value, const std::string& expected) {
  std::string ours = json_of(value);
  bool written_out =
      ours.find_first_of(".e") == ours.npos && std::strtod(ours.c_str(), nullptr) == static_cast<double>(value);
  return decimal(ours) == decimal(expected) || written_out;
}

}  // namespace

// tests/job/make_json_golden.py wrote the file: kind, the value's bytes or bits in hexadecimal, Python's JSON.
TEST_CASE("strings and floats as Python writes them") {
  const char* path = std::getenv("TRIREME_JSON_GOLDEN");
  REQUIRE_MESSAGE(path, "meson test sets it");
  std::ifstream golden(path);
  std::string kind, hex, expected;
  int count = 0;
  for (; golden >> kind >> hex; count++) {
    golden.get();
    std::getline(golden, expected);
    CAPTURE(hex);
    if (kind == "string")
      CHECK(json_of(std::string_view(from_hex(hex == "-" ? "" : hex))) == expected);
    else if (kind == "double")
      CHECK(same_number(std::bit_cast<double>(std::stoull(hex, nullptr, 16)), expected));
    else
      CHECK(same_number(std::bit_cast<float>(static_cast<uint32_t>(std::stoul(hex, nullptr, 16))), expected));
  }
  CHECK(count > 300);
}

TEST_CASE("what JSON has no word for") {
  CHECK(json_of(std::numeric_limits<float>::infinity()) == "null");
  CHECK(json_of(std::nanf("")) == "null");
  CHECK(json_of(-0.0f) == "-0");
  CHECK(json_of(std::string_view("a\xff\xc3")) == "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK(json_of(std::numeric_limits<uint64_t>::max()) == "18446744073709551615");
  CHECK(json_of(0.1f) == "0.1");
  CHECK(json_of(1e30f) == "1e+30");
}

TEST_CASE("a plain result") {
  RowHeader header{0, 1, 0, {false, "a\"1"}, R"({"title":"T"})"};
  Completion completion;
  completion.text = "Hi\n";
  completion.finish_reason = "stop";
  completion.prompt_tokens = 812;
  completion.completion_tokens = 2;
  completion.token_ids = {5, 6};
  CHECK(
      result_line(header, completion, {}) ==
      R"({"id":"a\"1","input":{"title":"T"},"text":"Hi\n","finish_reason":"stop","usage":{"prompt_tokens":812,"completion_tokens":2}})");
}

TEST_CASE("a result with everything asked for") {
  RowHeader header{0, 1, 0, {true, "7"}, ""};
  Completion completion;
  completion.finish_reason = "length";
  completion.prompt_tokens = 2;
  completion.completion_tokens = 1;
  completion.token_ids = {5};
  completion.logprobs = {{5, -0.1f, {{5, -0.1f}, {9, -2.4f}}}};
  completion.prompt_logprobs = {std::nullopt, TokenLogprob{3, -1.5f, {}}};
  completion.digest = "0123456789abcdef";
  CHECK(
      result_line(header, completion, {.with_token_ids = true}) ==
      R"({"id":7,"text":"","finish_reason":"length","usage":{"prompt_tokens":2,"completion_tokens":1},"token_ids":[5],)"
      R"("logprobs":[{"id":5,"logprob":-0.1,"top":[[5,-0.1],[9,-2.4]]}],)"
      R"("prompt_logprobs":[null,{"id":3,"logprob":-1.5,"top":[]}],"digest":"0123456789abcdef"})");
}

TEST_CASE("an error row") {
  RowError error{{3, 7, 5123, {true, "7"}, ""}, "bad_json", "no"};
  CHECK(error_line(error) ==
        R"({"id":7,"text":null,"finish_reason":"error","usage":{"prompt_tokens":0,"completion_tokens":0},)"
        R"("error":{"code":"bad_json","message":"no","line":7,"byte":5123}})");
  Completion completion;
  completion.error_code = "numerical_error";
  completion.error_message = "NaN";
  completion.prompt_tokens = 4;
  CHECK(result_line({3, 7, 9, {false, "a"}, ""}, completion, {.with_token_ids = true}) ==
        R"({"id":"a","text":null,"finish_reason":"error","usage":{"prompt_tokens":4,"completion_tokens":0},)"
        R"("error":{"code":"numerical_error","message":"NaN","line":7,"byte":9}})");
}

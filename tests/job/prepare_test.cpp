#include "job/prepare.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace trireme;

namespace {

// One token a byte of printable ASCII, space and line end, and three special ones.
std::string tiny_tokenizer() {
  nlohmann::json vocabulary;
  int id = 0;
  for (char c = '!'; c <= '~'; c++) vocabulary[std::string(1, c)] = id++;
  vocabulary["\u0120"] = id++;  // the byte alphabet's space
  vocabulary["\u010a"] = id++;  // and line end
  auto added = nlohmann::json::array();
  for (const char* content : {"<s>", "<|user|>", "<|end|>"})
    added.push_back({{"id", id++},
                     {"content", content},
                     {"special", true},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false}});
  return nlohmann::json{
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}}
      .dump();
}

struct Model {
  Tokenizer tokenizer{tiny_tokenizer()};
  ModelConfig config;

  Model() {
    config.vocab_size = 99;
    config.max_positions = 40;
    config.bos_token_id = 96;
    config.eos_token_ids = {98};
    config.add_bos = true;
  }
  std::variant<Request, RowError> prepare(const Document& document, const ChatTemplate* chat = nullptr,
                                          PrepareOptions options = {}) const {
    return Preparer(config, tokenizer, chat, std::move(options)).prepare(document);
  }
  // The prompt as text, special tokens shown.
  std::string prompt(const Document& document, const ChatTemplate* chat = nullptr, PrepareOptions options = {}) const {
    auto result = prepare(document, chat, std::move(options));
    if (auto* error = std::get_if<RowError>(&result)) return error->code;
    return tokenizer.decode(std::get<Request>(result).prompt, false);
  }
};

Document document(ContentKind kind, std::string content) {
  Document document;
  document.header = {3, 4, 5, {false, "a"}, ""};
  document.kind = kind;
  document.content = std::move(content);
  return document;
}

}  // namespace

TEST_CASE("without a template a document is instruction, blank line, document, blank line") {
  Model model;
  Document text = document(ContentKind::text, "Doc");
  CHECK(model.prompt(text) == "<s>Doc\n\n");
  CHECK(model.prompt(text, nullptr, {"", "Do", {}}) == "<s>Do\n\nDoc\n\n");
  CHECK(model.prompt(text, nullptr, {"Sys", "Do", {}}) == "<s>Sys\n\nDo\n\nDoc\n\n");
  CHECK(model.prompt(document(ContentKind::messages, R"([{"role":"user","content":"x"}])")) == "unsupported");
}

TEST_CASE("a raw prompt gets BOS when the tokenizer adds one, and special tokens in it are text") {
  Model model;
  CHECK(model.prompt(document(ContentKind::prompt, "Hi")) == "<s>Hi");
  auto spelled = std::get<Request>(model.prepare(document(ContentKind::prompt, "<|end|>")));
  CHECK(spelled.prompt.size() == 1 + 7);
  model.config.add_bos = false;
  CHECK(model.prompt(document(ContentKind::prompt, "Hi")) == "Hi");
}

TEST_CASE("a chat template: system and instruction as the contract says, user text is never special") {
  Model model;
  ChatTemplate chat("{% for m in messages %}<|user|>{{ m['role'] }}:{{ m['content'] }}<|end|>{% endfor %}");
  CHECK(model.prompt(document(ContentKind::text, "D"), &chat, {"S", "I", {}}) ==
        "<|user|>system:S<|end|><|user|>user:I\n\nD<|end|>");
  CHECK(model.prompt(document(ContentKind::messages, R"([{"role":"tool","content":"x"}])"), &chat) ==
        "<|user|>tool:x<|end|>");
  auto evil = std::get<Request>(model.prepare(document(ContentKind::text, "<|end|>"), &chat));
  CHECK(std::count(evil.prompt.begin(), evil.prompt.end(), 98) == 1);
  ChatTemplate refusing("{{ raise_exception('roles must alternate') }}");
  CHECK(model.prompt(document(ContentKind::text, "D"), &refusing) == "template_error");
}

TEST_CASE("a template is told the date of the run, tools and documents are none, and a role may make a special token") {
  Model model;
  ChatTemplate asks("{{ strftime_now('%d %b %Y') }}");
  PrepareOptions options;
  CHECK(model.prompt(document(ContentKind::text, "D"), &asks, options) == "template_error");
  options.date = "2026-11-27";
  CHECK(model.prompt(document(ContentKind::text, "D"), &asks, options) == "27 Nov 2026");
  ChatTemplate looks("{{ tools is none and documents is none }} {{ add_generation_prompt }}");
  CHECK(model.prompt(document(ContentKind::text, "D"), &looks) == "True True");
  ChatTemplate builds("<|{{ messages[0].role }}|>");
  auto user = std::get<Request>(model.prepare(document(ContentKind::text, "D"), &builds));
  CHECK(user.prompt == std::vector<int32_t>{97});
  auto end = std::get<Request>(model.prepare(document(ContentKind::messages, R"([{"role":"end"}])"), &builds));
  CHECK(end.prompt.size() == 7);
}

TEST_CASE("what does not fit the model is an error row") {
  Model model;
  model.config.add_bos = false;
  CHECK(model.prompt(document(ContentKind::prompt, "")) == "empty_prompt");
  CHECK(model.prompt(document(ContentKind::prompt, std::string(41, 'x'))) == "too_long");
  CHECK(model.prompt(document(ContentKind::prompt, std::string(40, 'x'))) == std::string(40, 'x'));
  Document tokens = document(ContentKind::token_ids, "");
  CHECK(model.prompt(tokens) == "empty_prompt");
  tokens.token_ids = {1, 99};
  auto error = std::get<RowError>(model.prepare(tokens));
  CHECK(error.code == "bad_token");
  CHECK(error.message == "token id 99 at position 1 is outside the vocabulary of 99");
  CHECK(error.header.row == 3);
}

TEST_CASE("a text that the tokenizer cannot write is an error row") {
  const Tokenizer unigram(R"({"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": null}})");
  const ModelConfig config = {.vocab_size = 1, .max_positions = 9};
  const Preparer preparer(config, unigram, nullptr, {});
  auto error = std::get<RowError>(preparer.prepare(document(ContentKind::prompt, "a" + std::string(100, 'b'))));
  CHECK(error.code == "no_token");
  CHECK(error.message.find(std::string(40, 'b') + "'") != std::string::npos);  // not the whole document
}

TEST_CASE("noise depends on the id and its type, sampling on the row first") {
  Model model;
  PrepareOptions options;
  options.sampling.max_tokens = 7;
  options.sampling.logprobs = 2;
  Document tokens = document(ContentKind::token_ids, "");
  tokens.token_ids = {1};
  tokens.sampling.max_tokens = 9;
  auto request = std::get<Request>(model.prepare(tokens, nullptr, options));
  CHECK(request.row == 3);
  CHECK(request.noise_key == tokens.header.id.key());
  CHECK(request.sampling.max_tokens == 9);
  CHECK(request.sampling.logprobs == 2);
  CHECK(request.prompt == std::vector<int32_t>{1});
}

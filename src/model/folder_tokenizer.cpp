#include "model/folder_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/json_depth.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "text/tokenizer.h"

namespace trireme {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokenizer = uint64_t{256} << 20;  // bytes, as src/text has it
constexpr int kMaxDepth = 64;                            // likewise
constexpr uint64_t kMaxTemplate = uint64_t{4} << 20;

class Folder {
 public:
  Folder(const std::string& folder, bool follow_links, std::vector<std::string>* files)
      : folder_(folder), follow_links_(follow_links), files_(files) {}

  std::string path(const char* name) const { return (std::filesystem::path(folder_) / name).string(); }
  bool has(const char* name) const { return is_there(path(name)); }
  std::string text(const char* name, uint64_t most) const {
    files_->push_back(check_link(path(name), follow_links_));
    return read_text_file(InputFile(files_->back()), most);
  }
  json object(const char* name) const {
    return has(name) ? parse_json_object(text(name, JsonLimits{}.bytes), path(name)) : json::object();
  }

 private:
  const std::string& folder_;
  bool follow_links_;
  std::vector<std::string>* files_;
};

// "bos_token": a text, or an object with the text as its content; nothing when absent or null.
std::optional<std::string> token_text(const json& object, const char* field) {
  auto found = object.find(field);
  if (found == object.end()) return std::nullopt;
  const json* value = &*found;
  if (value->is_object() && value->contains("content")) value = &value->at("content");
  return value->is_string() ? std::optional(value->get<std::string>()) : std::nullopt;
}

// A text, or a list of named ones, of which "default" counts.
std::string template_of(const json& tokenizer_config, const std::string& path) {
  auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array())
    fail(ExitCode::bad_data, "{}: chat_template is {}, expected a text or a list of named ones", path,
         found->type_name());
  for (const json& entry : *found)
    if (entry.is_object() && entry.value("name", json()) == "default" && entry.value("template", json()).is_string())
      return entry["template"].get<std::string>();
  return "";
}

// The tokens that tokenizer_config.json adds and tokenizer.json lacks, as entries of the latter's added_tokens.
std::vector<json> missing_tokens(const json& tokenizer_config, const std::string& tokenizer, const Folder& folder) {
  auto decoder = tokenizer_config.find("added_tokens_decoder");
  if (decoder == tokenizer_config.end() || !decoder->is_object() || decoder->empty()) return {};
  auto no_model = [](int depth, json::parse_event_t event, json& key) {
    return !(depth == 1 && event == json::parse_event_t::key && key == "model");
  };
  const json file = json::parse(tokenizer, no_model, false);
  if (!file.is_object()) return {};  // which the tokenizer says better
  const json present = file.value("added_tokens", json::array());
  std::vector<json> missing;
  for (const auto& [id, entry] : decoder->items()) {
    const std::optional<std::string> content = token_text(json{{"token", entry}}, "token");
    const bool number =
        !id.empty() && id.size() <= 8 && std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!content || !number)
      fail(ExitCode::bad_data, "{}: added_tokens_decoder has {} without a token's text or id; copy the model again",
           folder.path("tokenizer_config.json"), json(id.substr(0, 40)).dump());
    const bool there = std::any_of(present.begin(), present.end(), [&](const json& token) {
      return token.is_object() && token.value("content", json()) == *content;
    });
    if (there) continue;
    json token = {{"id", std::stoi(id)}, {"content", *content}};
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"})
      token[flag] = entry.is_object() && entry.value(flag, json(false)) == json(true);
    missing.push_back(token);
  }
  return missing;
}

void add_tokens(std::string& tokenizer, const std::vector<json>& tokens) {
  if (tokens.empty()) return;
  json file = json::parse(tokenizer, nullptr, false);
  if (!file["added_tokens"].is_array()) file["added_tokens"] = json::array();
  json& all = file["added_tokens"];
  for (const json& token : tokens) all.push_back(token);
  std::stable_sort(all.begin(), all.end(), [](const json& a, const json& b) {
    auto id = [](const json& token) { return token.is_object() ? token.value("id", json()) : json(); };
    return id(a) < id(b);
  });
  tokenizer = file.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

FolderTokenizer FolderTokenizer::read(const std::string& path, bool follow_links, std::vector<std::string>* files) {
  const Folder folder(path, follow_links, files);
  if (!folder.has("tokenizer.json"))
    fail(ExitCode::bad_data,
         "{} has no tokenizer.json{}; make one with Python: "
         "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
         path, folder.has("tokenizer.model") ? ", and tokenizer.model (SentencePiece) is not read" : "");
  FolderTokenizer t;
  t.tokenizer_json = folder.text("tokenizer.json", kMaxTokenizer);
  if (const int depth = json_depth(t.tokenizer_json); depth > kMaxDepth)
    fail(ExitCode::bad_data, "{}: JSON nested {} deep, expected at most {}; copy the model again",
         folder.path("tokenizer.json"), depth, kMaxDepth);
  const json config = folder.object("tokenizer_config.json"), map = folder.object("special_tokens_map.json");
  t.named = !config.empty() || !map.empty();
  add_tokens(t.tokenizer_json, missing_tokens(config, t.tokenizer_json, folder));
  t.chat_template = folder.has("chat_template.jinja") ? folder.text("chat_template.jinja", kMaxTemplate)
                                                      : template_of(config, folder.path("tokenizer_config.json"));
  try {
    const Tokenizer tokenizer(t.tokenizer_json);
    auto id_of = [&](const char* field) {
      const std::optional<std::string> text =
          config.contains(field) ? token_text(config, field) : token_text(map, field);
      return text ? tokenizer.find_id(*text) : -1;
    };
    t.bos_id = id_of("bos_token"), t.eos_id = id_of("eos_token");
    if (const int32_t first = tokenizer.bos_id(); first >= 0) t.adds_bos = true, t.bos_id = first;
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", path, error.what()));
  }
  return t;
}

}  // namespace trireme

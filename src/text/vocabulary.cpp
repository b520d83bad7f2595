#include "text/vocabulary.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "text/byte_level.h"

namespace trireme {
namespace {

const std::string no_text;

bool is_byte_of(std::string_view byte_token, std::string_view text) {
  return text.size() == 1 && byte_of(byte_token) == static_cast<unsigned char>(text[0]);
}

}  // namespace

Vocabulary::Vocabulary(const JsonField& vocab) {
  if (vocab.is_array()) {
    for (const JsonField& token : vocab.elements()) {
      if (token.array().size() != 2 || !token.array()[0].is_string()) token.damaged("another thing", "[text, score]");
      const std::string& text = token.array()[0].get_ref<const std::string&>();
      if (ids_.contains(text)) token.damaged(text, "another text: it has an id already");
      if (size() > max_id) token.damaged("one too many", fmt::format("at most {} tokens", max_id + 1));
      add(text, size(), token);
    }
  } else {
    for (const auto& [text, id] : vocab.object().items()) {
      const JsonField where(id, vocab.path() + "." + text.substr(0, 40));
      add(text, static_cast<int32_t>(where.integer(0, max_id)), where);
    }
  }
  in_model_ = used_;
}

void Vocabulary::add(const std::string& text, int32_t id, const JsonField& where) {
  const auto [entry, fresh] = ids_.try_emplace(text, id);
  if (!fresh) {
    if (entry->second != id)
      where.damaged(fmt::format("id {}", id), fmt::format("id {}, as it has elsewhere", entry->second));
    return;
  }
  if (id >= size()) {
    texts_.resize(static_cast<size_t>(id) + 1);
    used_.resize(static_cast<size_t>(id) + 1);
  }
  if (used_[id] && is_byte_of(texts_[id], text)) return;
  if (used_[id] && !is_byte_of(text, texts_[id]))
    where.damaged(fmt::format("id {}", id), fmt::format("another id: this one belongs to '{}'", texts_[id]));
  used_[id] = true;
  texts_[id] = text;
}

int32_t Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

int32_t Vocabulary::find_in_model(std::string_view text) const {
  const int32_t id = find(text);
  return id >= 0 && static_cast<size_t>(id) < in_model_.size() && in_model_[static_cast<size_t>(id)] ? id : -1;
}

const std::string& Vocabulary::text(int32_t id) const { return id < 0 || id >= size() ? no_text : texts_[id]; }

}  // namespace trireme

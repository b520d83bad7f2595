#include "text/vocabulary.h"

#include <fmt/format.h>

namespace trireme {
namespace {

const std::string no_text;

}  // namespace

Vocabulary::Vocabulary(const JsonField& vocab) {
  for (const auto& [text, id] : vocab.object().items()) {
    const JsonField where(id, vocab.path() + "." + text.substr(0, 40));
    add(text, static_cast<int32_t>(where.integer(0, max_id)), where);
  }
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
  if (used_[id])
    where.damaged(fmt::format("id {}", id), fmt::format("another id: this one belongs to '{}'", texts_[id]));
  used_[id] = true;
  texts_[id] = text;
}

int32_t Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

const std::string& Vocabulary::text(int32_t id) const { return id < 0 || id >= size() ? no_text : texts_[id]; }

}  // namespace trireme

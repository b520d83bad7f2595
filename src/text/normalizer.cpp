#include "text/normalizer.h"

#include <map>

#include "text/character_filters.h"
#include "text/charsmap.h"
#include "text/pattern.h"
#include "text/text_edit.h"
#include "text/unicode_forms.h"

namespace trireme {

struct NormalizerStep {
  virtual ~NormalizerStep() = default;
  virtual void apply(TextEdit& edit) const = 0;
};

namespace {

constexpr int max_depth = 16;  // of a Sequence in a Sequence

using Filter = void (*)(TextEdit&);

template <UnicodeForm form>
void to_form(TextEdit& edit) {
  normalize(form, edit);
}

struct FilterStep : NormalizerStep {
  explicit FilterStep(Filter f) : filter(f) {}
  void apply(TextEdit& edit) const override { filter(edit); }
  Filter filter;
};

struct CharsmapStep : NormalizerStep {
  explicit CharsmapStep(const JsonField& field) : charsmap(field["precompiled_charsmap"]) {}
  void apply(TextEdit& edit) const override { charsmap.apply(edit); }
  Charsmap charsmap;
};

struct PrependStep : NormalizerStep {
  explicit PrependStep(const JsonField& field) : prefix(field["prepend"].text()) {}
  void apply(TextEdit& edit) const override {
    if (!edit.text().empty()) edit.replace(0, 0, prefix);
  }
  std::string prefix;
};

struct ReplaceStep : NormalizerStep {
  explicit ReplaceStep(const JsonField& field) : pattern(field["pattern"]), content(field["content"].text()) {}
  void apply(TextEdit& edit) const override {
    Regex::Scratch scratch;
    pattern.each(edit.text(), scratch, [&](size_t begin, size_t end, bool is_match) {
      if (is_match) edit.replace(begin, end, content);
    });
  }
  Pattern pattern;
  std::string content;
};

// What a step without settings of its own does.
const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> table = {{"NFC", to_form<UnicodeForm::nfc>},
                                                      {"NFD", to_form<UnicodeForm::nfd>},
                                                      {"NFKC", to_form<UnicodeForm::nfkc>},
                                                      {"NFKD", to_form<UnicodeForm::nfkd>},
                                                      {"Lowercase", lowercase},
                                                      {"StripAccents", strip_accents},
                                                      {"Nmt", clean_nmt},
                                                      {"ByteLevel", to_byte_letters}};
  return table;
}

}  // namespace

Normalizer::Normalizer(const JsonField& field) { add(field, 0); }
Normalizer::~Normalizer() = default;

void Normalizer::add(const JsonField& field, int depth) {
  if (field.is_null()) return;
  if (depth > max_depth) field.damaged("one Sequence inside another, too deep", "a flat Sequence");
  const std::string& type = field["type"].text();
  const auto filter = [&](Filter f) { steps_.push_back(std::make_unique<FilterStep>(f)); };
  if (const auto found = filters().find(type); found != filters().end()) {
    filter(found->second);
  } else if (type == "Sequence") {
    for (const JsonField& step : field["normalizers"].elements()) add(step, depth + 1);
  } else if (type == "Strip") {
    if (field["strip_left"].flag_or(true)) filter(strip_left);
    if (field["strip_right"].flag_or(true)) filter(strip_right);
  } else if (type == "BertNormalizer") {
    const bool lower = field["lowercase"].flag_or(true);
    if (field["clean_text"].flag_or(true)) filter(clean_bert);
    if (field["handle_chinese_chars"].flag_or(true)) filter(separate_ideographs);
    if (field["strip_accents"].flag_or(lower)) {
      filter(to_form<UnicodeForm::nfd>);
      filter(strip_nonspacing_marks);
    }
    if (lower) filter(lowercase);
  } else if (type == "Prepend") {
    steps_.push_back(std::make_unique<PrependStep>(field));
  } else if (type == "Replace") {
    steps_.push_back(std::make_unique<ReplaceStep>(field));
  } else if (type == "Precompiled") {
    steps_.push_back(std::make_unique<CharsmapStep>(field));
  } else {
    field["type"].unsupported(type,
                              "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Precompiled, "
                              "Nmt, ByteLevel, BertNormalizer, Sequence");
  }
}

Normalizer::Result Normalizer::normalize(MarkedText text) const {
  Result result{std::move(text)};
  for (const auto& step : steps_) {
    TextEdit edit(result.text);
    step->apply(edit);
    if (!edit.changed()) continue;
    result.removed_front = result.removed_front || edit.removed_front();
    MarkedText changed = edit.finish();
    result.text = std::move(changed);
  }
  return result;
}

std::string Normalizer::normalize(std::string_view text) const {
  return normalize(MarkedText{std::string(text), {}}).text.text;
}

}  // namespace trireme

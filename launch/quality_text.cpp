#include "launch/quality_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"

namespace trireme {

namespace {

constexpr int64_t kUnscoredPart = 8;  // of a window, when --unscored is not given

std::string read_utf8(const std::string& path) {
  std::string text = read_whole_file(path);
  for (size_t i = 0, length = 0; i < text.size(); i += length)
    if ((length = utf8_length_at(text, i)) == 0)
      fail(ExitCode::bad_data, "{}: byte {} is 0x{:02x}, which is not UTF-8; convert the text to UTF-8", path, i,
           static_cast<unsigned char>(text[i]));
  return text;
}

std::string quoted(const std::string& token) {
  return nlohmann::json(token).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace

WindowSize WindowSize::of(const Options& options, int64_t context) {
  WindowSize size{options.window, options.unscored};
  if (!options.given("window")) size.tokens = std::min(size.tokens, context);
  if (size.tokens > context)
    fail(ExitCode::usage, "--window {}: the context of the model is {} tokens; give that or fewer", size.tokens,
         context);
  if (!options.given("unscored")) size.unscored = size.tokens / kUnscoredPart;
  if (size.unscored > size.tokens - 2)
    fail(ExitCode::usage, "--unscored {}: a window of {} tokens would predict nothing; give at most {}", size.unscored,
         size.tokens, size.tokens - 2);
  return size;
}

QualityText QualityText::read(const std::string& path, const TextModel& model, const WindowSize& size) {
  QualityText text;
  text.tokens = model.tokenizer.encode(read_utf8(path));
  for (int32_t id : text.tokens)
    if (id >= model.config.vocab_size)
      fail(ExitCode::bad_data, "{}: its text has token {}, and the model predicts only {}; check the model's files",
           path, id, model.config.vocab_size);
  text.windows =
      text_windows(text.tokens, model.config.add_bos ? model.config.bos_token_id : -1, size.tokens, size.unscored);
  if (text.windows.empty())
    fail(ExitCode::bad_data, "{}: {} tokens leave nothing to predict; take a longer text", path, text.tokens.size());
  return text;
}

void check_same_vocabulary(const TextModel& tested, const TextModel& reference, const Options& options) {
  if (tested.config.vocab_size != reference.config.vocab_size)
    fail(ExitCode::bad_data,
         "--against {}: it predicts {} tokens, and {} predicts {}; compare models of one vocabulary", options.against,
         reference.config.vocab_size, options.model, tested.config.vocab_size);
  const int tokens = std::max(tested.tokenizer.vocab_size(), reference.tokenizer.vocab_size());
  for (int32_t id = 0; id < tokens; id++) {
    const std::string ours = tested.tokenizer.token_bytes(id), theirs = reference.tokenizer.token_bytes(id);
    if (ours != theirs)
      fail(ExitCode::bad_data,
           "--against {}: its token {} is {}, and that of {} is {}; compare models of one vocabulary", options.against,
           id, quoted(theirs), options.model, quoted(ours));
  }
}

}  // namespace trireme

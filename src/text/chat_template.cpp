#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja_parser.h"
#include "text/jinja_run.h"

namespace trireme {

struct ChatTemplate::State {
  JinjaStatement::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source) : state_(std::make_unique<State>(State{parse_jinja(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::vector<TextPiece> ChatTemplate::render(const nlohmann::ordered_json& variables) const try {
  return JinjaRun(variables).run(state_->body).pieces();
} catch (const JinjaFault& found) {
  fail(ExitCode::bad_data, "the chat template cannot be rendered: {}; pass raw prompts", found.text);
}

}  // namespace trireme

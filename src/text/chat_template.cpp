#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja_parser.h"
#include "text/jinja_run.h"

namespace trireme {

struct ChatTemplate::State {
  JinjaStatement::Body body;
  TemplateLimits limits;
};

ChatTemplate::ChatTemplate(std::string_view source, const TemplateLimits& limits)
    : state_(std::make_unique<State>(State{parse_jinja(source), limits})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::vector<TextPiece> ChatTemplate::render(const nlohmann::ordered_json& variables) const try {
  return JinjaRun(variables, state_->limits).run(state_->body).pieces();
} catch (const JinjaFault& found) {
  fail(ExitCode::bad_data, "the chat template cannot be rendered: {}; pass raw prompts", found.text);
}

}  // namespace trireme

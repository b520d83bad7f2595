#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/template_limits.h"
#include "text/tokenizer.h"

namespace trireme {

// A chat template: a sandboxed subset of Jinja (docs/templates.md) with transformers' settings (trim_blocks,
// lstrip_blocks, loop controls). No I/O, no attributes beyond JSON data; steps, time, depth and output are bounded.
class ChatTemplate {
 public:
  // Throws Error(bad_data) with line and column.
  explicit ChatTemplate(std::string_view source, const TemplateLimits& limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // strftime_now() reads the variable "frozen_now" (an ISO date), and is refused without it.
  // variables: "messages" and whatever else the template may use ("bos_token", "eos_token", "add_generation_prompt").
  // Text that stems from them comes out untrusted, through filters, slices and concatenation too; what the template
  // writes itself is trusted, as are special tokens ("bos_token" ...) and the well-known roles of messages. Throws
  // Error(bad_data) for the template's own raise_exception and for passed limits.
  std::vector<TextPiece> render(const nlohmann::ordered_json& variables) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme

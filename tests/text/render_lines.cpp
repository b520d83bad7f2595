// Reads JSON per line, writes JSON per line: what tests/text/make_golden.py and differential tests compare with jinja2.
//   {"template": text, "variables": {...}} -> [[text, trusted]...] or {"error": message}
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_template.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto task = nlohmann::ordered_json::parse(line);
    nlohmann::ordered_json answer = nlohmann::ordered_json::array();
    try {
      const trireme::ChatTemplate chat(task["template"].get<std::string>());
      for (const auto& piece : chat.render(task["variables"])) answer.push_back({piece.text, piece.trusted});
    } catch (const trireme::Error& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer << "\n";
  }
}

#include "launch/help.h"

#include <fmt/core.h>

#include "launch/option_table.h"
#include "launch/versions.h"

namespace trireme {

namespace {

// Where else options come from.
std::string places_help(const Command& command) {
  std::string typed;  // those that come from the command line alone
  const OptionSpec* example = nullptr;
  for (const OptionSpec& spec : option_table()) {
    if (!(spec.commands & command.bit)) continue;
    if (!has_variable(spec)) typed += fmt::format("{}--{}", typed.empty() ? " but " : " and ", spec.name);
    if (!example && has_variable(spec) && spec.name.find('-') != spec.name.npos) example = &spec;
  }
  const OptionSpec& config = *find_option("config", command.bit);
  const bool file = has_variable(config);  // not the model's config.json
  const std::string variable = fmt::format("TRIREME_NAME (--{}: {})", example->name, environment_name(example->name));
  const std::string sources = !file ? fmt::format("{} also comes from {}", typed, variable)
                              : typed.empty()
                                  ? fmt::format(" also comes from {} or from the --config file", variable)
                                  : fmt::format(" also comes from the --config file and,{}, from {}", typed, variable);
  return fmt::format("\nEvery option{};\ncommand line > environment{} > default.\n", sources, file ? " > file" : "");
}

}  // namespace

std::string general_help() {
  std::string text =
      "trireme runs a language model over a whole corpus under mpirun or srun: the same bits on every layout.\n\n"
      "  trireme COMMAND ... [options]\n\n";
  for (const Command& command : commands()) text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  text +=
      "\nA first run:\n"
      "  trireme run documents.jsonl -m model.gguf -o summaries.jsonl --instruction \"Summarize this document.\"\n"
      "\nOptions and examples of a command: trireme help COMMAND. Versions: trireme version --verbose.\n";
  return text;
}

std::string command_help(const Command& command, bool verbose) {
  std::string text =
      fmt::format("trireme {}{}{} [options]\n  {}\n\nExamples:\n{}", command.name, command.argument.empty() ? "" : " ",
                  command.argument, command.summary, command.examples);
  std::string_view group;
  for (const OptionSpec& spec : option_table()) {
    if (!(spec.commands & command.bit) || (spec.group == "tests" && !verbose)) continue;
    if (spec.group != group) text += fmt::format("\n{} options:\n", spec.group);
    group = spec.group;
    std::string left =
        spec.letter ? fmt::format("-{}, --{}", spec.letter, spec.name) : fmt::format("    --{}", spec.name);
    if (!spec.value.empty()) left += fmt::format(" {}", spec.value);
    text += fmt::format("  {:<32} {}", left, spec.help);
    text += spec.fallback.empty() ? "\n" : fmt::format(" [{}]\n", spec.fallback);
  }
  return text + places_help(command);
}

std::string printed_config(const Options& options) {
  std::string text;
  const Command* command = find_command(options.command);
  for (const OptionSpec& spec : option_table()) {
    if (command && !(spec.commands & command->bit)) continue;
    auto origin = options.origin.find(spec.name);
    bool asks = spec.name == "help" || spec.name == "version" || spec.name == "print-config" || spec.name == "config";
    if (origin == options.origin.end() || asks) continue;
    auto values = values_of(options, spec);
    bool unset = values.empty() || (origin->second == "default" && values == std::vector<std::string>{""});
    if (unset) text += fmt::format("# {} is not set\n", spec.name);
    for (size_t i = 0; i < values.size() && !unset; i++)
      text += fmt::format("{} = {}  # {}\n", spec.name, values[i], origin->second);
  }
  return text;
}

}  // namespace trireme

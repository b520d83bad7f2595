#include "launch/options.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/nearest.h"
#include "engine/stop_texts.h"
#include "launch/commands.h"
#include "launch/environment.h"
#include "launch/option_table.h"
#include "plan/own_memory.h"

namespace trireme {

namespace po = boost::program_options;

namespace {

// What one source says about one option. Boost tokenizes; what the words mean is decided below, from the table.
struct Given {
  std::string name;
  std::vector<std::string> values;
};

struct Source {
  std::string origin;
  std::vector<Given> options;
  std::vector<std::string> positional;
};

bool is_list(const OptionSpec& spec) { return std::holds_alternative<std::vector<std::string> Options::*>(spec.field); }

std::string help_hint(const std::string& command) {
  return command.empty() ? "see trireme --help" : fmt::format("see trireme {} --help", command);
}

[[noreturn]] void fail_unknown(std::string_view name, std::string_view where, uint32_t commands,
                               const std::string& command) {
  const OptionSpec* elsewhere = find_option(name.substr(std::min<size_t>(2, name.size())), kAllCommands);
  if (command.empty() && (elsewhere || !name.starts_with("--")))
    fail(ExitCode::usage, "unknown option {} before a command: the command comes first; {}", name, help_hint(command));
  std::vector<std::string> candidates;
  for (const OptionSpec& spec : option_table())
    if ((spec.commands & commands) && spec.group != "tests") candidates.push_back("--" + std::string(spec.name));
  std::string hint = elsewhere && !(elsewhere->commands & commands)
                         ? fmt::format(" (an option of other commands)", command)
                         : did_you_mean(name, candidates);
  fail(ExitCode::usage, "unknown option {}{}{}; {}", name, where, hint, help_hint(command));
}

po::options_description described(uint32_t commands) {
  po::options_description all;
  for (const OptionSpec& spec : option_table()) {
    if (&spec != find_option(spec.name, commands)) continue;
    std::string name(spec.name);
    if (spec.letter) name += std::string(",") + spec.letter;
    auto* value = po::value<std::string>();
    if (spec.value.empty()) value->implicit_value("true");
    all.add_options()(name.c_str(), value, "");
  }
  return all;
}

// A switch takes no word after it: `run --digest docs.jsonl` has an input.
std::vector<std::string> closed_switches(std::span<const std::string> arguments, uint32_t commands) {
  std::vector<std::string> words(arguments.begin(), arguments.end());
  for (std::string& word : words) {
    if (word == "--") break;
    for (const OptionSpec& spec : option_table()) {
      if (!(spec.commands & commands) || !spec.value.empty()) continue;
      const std::string name = fmt::format("--{}", spec.name);
      if (word == name || (spec.letter && word == fmt::format("-{}", spec.letter))) word = name + "=true";
    }
  }
  return words;
}

Source read_command_line(std::span<const std::string> arguments, uint32_t commands, const std::string& command) {
  Source source{std::string(kCommandLine), {}, {}};
  po::options_description options = described(commands);
  po::positional_options_description none;
  try {
    auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    const std::vector<std::string> words = closed_switches(arguments, commands);
    auto parsed = po::command_line_parser(words).options(options).style(style).allow_unregistered().run();
    for (auto& option : parsed.options) {
      if (option.unregistered)
        fail_unknown(option.original_tokens[0].substr(0, option.original_tokens[0].find('=')), "", commands, command);
      if (option.string_key.empty())
        source.positional.insert(source.positional.end(), option.value.begin(), option.value.end());
      else
        source.options.push_back(
            {option.string_key, option.value.empty() ? std::vector<std::string>{"true"} : option.value});
    }
  } catch (const po::invalid_syntax& error) {
    fail(ExitCode::usage, "{}; {}", error.what(), help_hint(command));
  } catch (const po::error& error) {
    fail(ExitCode::usage, "{}; {}", error.what(), help_hint(command));
  }
  return source;
}

// A name that is nearly an option's is a typing error that would be lost in silence; TRIREME_TEST_*
// belongs to the tests, and any other is somebody else's.
Source read_environment(std::span<const std::string> environment) {
  Source source{"environment", {}, {}};
  std::vector<std::string> names;
  for (const OptionSpec& spec : option_table()) names.push_back(environment_name(spec.name));
  for (const std::string& entry : environment) {
    std::string name = entry.substr(0, entry.find('='));
    if (!name.starts_with("TRIREME_") || name.starts_with("TRIREME_TEST_")) continue;
    size_t at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) {
      const std::string hint = did_you_mean(name, names);
      if (hint.empty()) continue;
      fail(ExitCode::usage, "unknown environment variable {}{}; see trireme run --help for the options", name, hint);
    }
    source.options.push_back({std::string(option_table()[at].name), {entry.substr(name.size() + 1)}});
  }
  return source;
}

Source read_config(const std::string& path) {
  Source source{path, {}, {}};
  std::ifstream file(path);
  if (!file) fail(ExitCode::no_input, "cannot read the config file '{}': {}; check --config", path, errno_text());
  try {
    for (auto& option : po::parse_config_file(file, described(kAllCommands), true).options) {
      if (option.unregistered) fail_unknown("--" + option.string_key, fmt::format(" in {}", path), kAllCommands, "run");
      if (option.string_key == "config") fail(ExitCode::usage, "a config file cannot name another one ({})", path);
      source.options.push_back({option.string_key, option.value});
    }
  } catch (const po::error& error) {
    fail(ExitCode::usage, "config file {}: {}; it takes lines `name = value`", path, error.what());
  }
  return source;
}

// A stronger source replaces what a weaker one said.
void apply(Options& options, const Source& source, uint32_t commands) {
  std::map<std::string, std::string> seen;
  for (const Given& given : source.options) {
    const OptionSpec* found = find_option(given.name, commands);
    if (!found) continue;  // of another command, from the environment or a config file
    const OptionSpec& spec = *found;
    const bool variable = source.origin == "environment";
    if (variable && !has_variable(spec)) continue;
    std::string origin = variable ? environment_name(given.name) : source.origin;
    const std::string& text = given.values.front();
    auto [before, first] = seen.emplace(given.name, text);
    if (!first && !is_list(spec) && before->second != text)
      fail(ExitCode::usage, "option --{} is given twice, as '{}' and as '{}' ({}); keep one", given.name,
           before->second, text, origin);
    if (first && is_list(spec)) options.*std::get<std::vector<std::string> Options::*>(spec.field) = {};
    assign(options, spec, text, origin);
    options.origin[given.name] = origin;
  }
}

void check_contradictions(const Options& options) {
  auto stages = static_cast<int64_t>(options.stage_split.size());
  if (stages > 0 && options.pp > 0 && stages != options.pp)
    fail(ExitCode::usage, "--stage-split names {} stages, but --pp is {}; make them equal or leave --pp out", stages,
         options.pp);
  if (!options.synthetic.empty() && !options.read_machine.empty())
    fail(ExitCode::usage, "--synthetic and --read both name the machine; keep one");
  if (options.measure && (!options.synthetic.empty() || !options.read_machine.empty()))
    fail(ExitCode::usage, "--measure is of this machine; leave --synthetic and --read out");
  if (options.restart && options.output == "-") fail(ExitCode::usage, "--restart needs an output file, not -");
  if (options.given("text") && !options.input.empty())
    fail(ExitCode::usage, "--text and the file '{}' both say what to tokenize; keep one", options.input);
}

// A machine that is nothing, as of a variable that a script forgot to set, is not taken for one that is not given.
void check_machines(const Options& options, uint32_t commands) {
  for (const OptionSpec& spec : option_table()) {
    const auto* text = std::get_if<std::string Options::*>(&spec.field);
    const bool of_machine = spec.group == "machine" || spec.name == "machine";
    if (!of_machine || !text || !(spec.commands & commands) || !options.typed(spec.name)) continue;
    if ((options.*(*text)).empty()) fail(ExitCode::usage, "option --{} is empty; it takes {}", spec.name, spec.value);
  }
}

// As of a row's own.
void check_stops(const Options& options) {
  for (size_t i = 0; i < options.stop.size(); i++)
    if (const std::string fault = stop_fault(i + 1, options.stop[i]); !fault.empty())
      fail(ExitCode::usage, "option --stop (from {}): {}", options.origin.at("stop"), fault);
}

// What is more on GPUs than on CPUs.
void choose_counts(Options& options) {
  const bool on_gpus = options.device == "cuda";
  if (options.max_seqs == 0) options.max_seqs = default_sequences(on_gpus);
  if (options.max_step_tokens == 0) options.max_step_tokens = default_step_tokens(on_gpus);
}

void take_positional(Options& options, const Command& command, const std::vector<std::string>& words) {
  bool optional = command.argument.empty() || command.argument.starts_with("[");
  constexpr std::string_view kCounts[] = {"no arguments", "one argument", "two arguments"};
  size_t possible = 0;
  if (!command.argument.empty())
    possible = 1 + static_cast<size_t>(std::count(command.argument.begin(), command.argument.end(), ' '));
  if (words.size() > possible)
    fail(ExitCode::usage, "{} takes {}, but '{}' follows; {}", command.name, kCounts[possible], words[possible],
         help_hint(options.command));
  if (!words.empty()) options.input = words[0];
  if (words.size() > 1) options.text_path = words[1];
  bool only_asked = options.help || options.version || options.print_config || options.calibrate;
  if (words.empty() && !optional && !only_asked)
    fail(ExitCode::usage, "{} needs {}; {}", command.name, command.argument, help_hint(options.command));
}

}  // namespace

Options parse_options(std::span<const std::string> arguments, std::span<const std::string> environment) {
  if (!arguments.empty() && (arguments[0] == "help" || arguments[0] == "version")) {
    // `trireme help run` and `trireme version`: what other programs take.
    std::vector<std::string> words(arguments.begin() + 1, arguments.end());
    words.push_back("--" + arguments[0]);
    return parse_options(words, environment);
  }
  Options options;
  options.library_prefixes = Environment{.entries = {environment.begin(), environment.end()}}.library_prefixes();
  const Command* command = nullptr;
  if (!arguments.empty() && !arguments[0].starts_with("-")) {
    command = find_command(arguments[0]);
    if (!command)
      fail(ExitCode::usage, "unknown command '{}'{}; see trireme --help", arguments[0], command_hint(arguments[0]));
    options.command = arguments[0];
    arguments = arguments.subspan(1);
  }
  uint32_t commands = command ? uint32_t{command->bit} : uint32_t{kStatus};  // without a command: the general options
  Source line = read_command_line(arguments, commands, options.command);
  Source variables = read_environment(environment);

  for (const OptionSpec& spec : option_table()) {
    if (!(spec.commands & commands)) continue;
    if (!spec.fallback.empty()) assign(options, spec, spec.fallback, "default");
    options.origin[std::string(spec.name)] = "default";
  }
  Options asked = options;  // to learn which config file stronger sources name
  apply(asked, variables, commands);
  apply(asked, line, commands);
  if (!asked.config.empty()) apply(options, read_config(asked.config), commands);
  apply(options, variables, commands);
  apply(options, line, commands);

  choose_counts(options);
  if (command) {
    take_positional(options, *command, line.positional);
    check_contradictions(options);
    check_machines(options, commands);
    check_stops(options);
  } else if (!line.positional.empty()) {
    fail(ExitCode::usage, "the command comes first: trireme {} ...; see trireme --help", line.positional[0]);
  }
  return options;
}

bool Options::given(std::string_view option) const {
  auto found = origin.find(option);
  return found != origin.end() && found->second != "default";
}

bool Options::typed(std::string_view option) const {
  const auto found = origin.find(option);
  return found != origin.end() && found->second == kCommandLine;
}

SamplingParams Options::sampling() const {
  SamplingParams params;
  params.max_tokens = max_tokens;
  params.temperature = static_cast<float>(temperature);
  params.top_p = static_cast<float>(top_p);
  params.top_k = static_cast<int32_t>(std::min<int64_t>(top_k, INT32_MAX));
  params.seed = static_cast<uint64_t>(seed);
  params.stop = stop;
  params.ignore_eos = ignore_eos;
  params.logprobs = static_cast<int>(logprobs);
  params.prompt_logprobs = static_cast<int>(prompt_logprobs);
  params.digest = digest;
  return params;
}

std::string text_or_file(const std::string& value, std::string_view option) {
  if (!value.starts_with("@")) return value;
  if (value.starts_with("@@")) return value.substr(1);
  std::string path = value.substr(1);
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path))
    fail(ExitCode::no_input, "cannot read the file '{}' of {}; write @@ for a text that begins with @", path, option);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Options with_texts(Options options) {
  options.system = text_or_file(options.system, "--system");
  options.instruction = text_or_file(options.instruction, "--instruction");
  return options;
}

}  // namespace trireme

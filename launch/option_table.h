#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "launch/options.h"

namespace trireme {

using OptionField = std::variant<bool Options::*, int64_t Options::*, double Options::*, std::string Options::*,
                                 std::vector<std::string> Options::*, std::vector<int64_t> Options::*>;

// One option, declared once: the table drives parsing, --help, --print-config, the environment and the config file.
struct OptionSpec {
  std::string_view group;     // heading in --help; "tests": shown by --help --verbose only
  std::string_view name;      // "max-seqs": --max-seqs, TRIREME_MAX_SEQS, `max-seqs = 16` in a config file
  char letter;                // 'm' for -m, 0: none
  std::string_view value;     // what follows it: "N", "FILE", "a|b|c" (one of these), "N|auto"; "" for a switch
  std::string_view fallback;  // default, as the user would write it; "" leaves the field as Options has it
  uint32_t commands;          // CommandBits
  OptionField field;
  std::string_view help;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool low_open = false;  // the lowest value itself is not allowed
};

std::span<const OptionSpec> option_table();
// A name may mean one thing to a command and another to the next.
const OptionSpec* find_option(std::string_view name, uint32_t commands);
// Of options of one name the last in the table has the variable; the others are another command's alone.
bool has_variable(const OptionSpec& spec);
std::string environment_name(std::string_view option);  // "TRIREME_MAX_SEQS"

// Puts `text` into the option's field. Throws Error(usage) naming `origin`, what was seen and what is possible.
void assign(Options& options, const OptionSpec& spec, std::string_view text, std::string_view origin);
// The field's value, as assign() would take it; a list has several.
std::vector<std::string> values_of(const Options& options, const OptionSpec& spec);

}  // namespace trireme

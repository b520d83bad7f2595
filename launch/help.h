#pragma once

#include <string>

#include "launch/commands.h"

namespace trireme {

std::string general_help();
std::string command_help(const Command& command, bool verbose);  // verbose: test hooks too
std::string printed_config(const Options& options);  // lines `name = value  # origin`, themselves a config file

}  // namespace trireme

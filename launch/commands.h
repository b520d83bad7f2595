#pragma once

#include <span>
#include <string_view>

#include "launch/environment.h"
#include "launch/options.h"

namespace trireme {

// A bit for each command: the option table says with these which options a command takes.
enum CommandBit : uint32_t {
  kRun = 1,
  kConvert = 2,
  kInspect = 4,
  kTopology = 8,
  kTokenize = 16,
  kRender = 32,
  kBench = 64,
  kDoctor = 128,
  kStatus = 256,
  kPlan = 512,
  kAllCommands = 1023
};

enum class MpiUse : uint8_t { never, if_launched, always };

struct Command {
  std::string_view name;
  CommandBit bit;
  MpiUse mpi;
  std::string_view argument;  // of the usage line: "INPUT"; "" takes none; in brackets when it may be left out
  std::string_view summary;   // one line
  std::string_view examples;  // whole lines
  int (*run)(const Options& options, const Environment& environment);  // returns the exit code
};

// In the order of --help. Declared once, in main.cpp's room: launch/commands.cpp.
std::span<const Command> commands();
const Command* find_command(std::string_view name);
std::string command_hint(std::string_view name);  // did-you-mean for an unknown one

int run_command(const Options& options, const Environment& environment);
int convert_command(const Options& options, const Environment& environment);
int inspect_command(const Options& options, const Environment& environment);
int topology_command(const Options& options, const Environment& environment);
int tokenize_command(const Options& options, const Environment& environment);
int render_command(const Options& options, const Environment& environment);
int bench_command(const Options& options, const Environment& environment);
int doctor_command(const Options& options, const Environment& environment);
int plan_command(const Options& options, const Environment& environment);
int status_command(const Options& options, const Environment& environment);

}  // namespace trireme

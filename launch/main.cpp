#include <fmt/core.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <thread>

#include "base/printable.h"
#include "comm/communicator.h"
#include "launch/commands.h"
#include "launch/fault.h"
#include "launch/help.h"
#include "launch/options.h"
#include "launch/versions.h"
#include "topology/launch_check.h"

namespace trireme {

namespace {

// One line per job, whatever names and texts of others are in it: the lowest failing rank prints and ends the others,
// which hold back until then. Who prints later had a fault of its own that no lower rank shared.
void report(const Fault& fault, const std::string& command, const Environment& environment) {
  constexpr auto kHoldBack = std::chrono::milliseconds(1000);  // above the time an abort takes to reach all ranks
  if (environment.rank > 0) std::this_thread::sleep_for(kHoldBack + std::chrono::milliseconds(environment.rank));
  std::string where = environment.ranks > 1 ? fmt::format(" (rank {} on {})", environment.rank, environment.host) : "";
  fmt::print(stderr, "trireme{}{}: {}{}\n", command.empty() ? "" : " ", command, printable(fault.text), where);
  std::fflush(stderr);
}

bool answered(const Options& options, const Environment& environment) {
  const Command* command = find_command(options.command);
  std::string text;
  if (options.help)
    text = command ? command_help(*command, options.verbose) : general_help();
  else if (options.version)
    text = version_text(options.verbose, options);
  else if (options.print_config && command)
    text = printed_config(options);
  else if (!command)
    text = general_help();
  if (!text.empty() && environment.rank == 0) fmt::print("{}", text);
  return !text.empty();
}

// A launcher of another MPI starts worlds of one rank each, which would all do the whole job.
void refuse_lone_worlds(const Environment& environment, int size) {
  std::string mistake = launch_mistake(size, [&](const std::string& name) { return environment.value(name); });
  if (!mistake.empty()) fail(ExitCode::configuration, "{}", mistake);
}

// What nobody could write is no result.
void finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    fail(ExitCode::io_error, "cannot write to the standard output ({})", std::generic_category().message(errno));
}

int run(const Options& options, const Environment& environment, int argc, char** argv) {
  const Command& command = *find_command(options.command);
  bool use_mpi = command.mpi == MpiUse::always || (command.mpi == MpiUse::if_launched && !environment.launcher.empty());
  std::optional<MpiSession> mpi;
  try {
    // A process that got no PMIx can only be a world of its own, and MPI_Init may end it in words that help nobody.
    const bool always = command.mpi == MpiUse::always;
    if (always && environment.value("PMIX_RANK").empty()) refuse_lone_worlds(environment, 1);
    // One task of srun is a world of its own, too: Open MPI must not take it for a part of one and ask srun for a PMI.
    if (use_mpi && environment.value("PMIX_RANK").empty()) unsetenv("SLURM_STEP_ID");
    if (use_mpi) mpi.emplace(&argc, &argv);
    if (always) {
      Waiter waiter{std::chrono::seconds(60)};
      refuse_lone_worlds(environment, Communicator::world(waiter).size());
    }
    const int code = command.run(options, environment);
    finish_output();
    return code;
  } catch (...) {
    Fault fault = Fault::current();
    report(fault, options.command, environment);
    if (MpiSession::ranks() > 1) MpiSession::abort(static_cast<int>(fault.code));
    return static_cast<int>(fault.code);
  }
}

}  // namespace

}  // namespace trireme

int main(int argc, char** argv) {
  using namespace trireme;
  Environment environment = Environment::read();
  std::vector<std::string> arguments(argv + 1, argv + argc);
  Options options;
  try {
    options = parse_options(arguments, environment.entries);
    if (answered(options, environment)) {
      finish_output();
      return options.command.empty() && arguments.empty() ? static_cast<int>(ExitCode::usage) : 0;
    }
  } catch (...) {
    Fault fault = Fault::current();
    const bool known = !arguments.empty() && find_command(arguments[0]);
    report(fault, known ? arguments[0] : "", environment);
    return static_cast<int>(fault.code);
  }
  return run(options, environment, argc, argv);
}

#include "launch/commands.h"

// The table of commands points at functions which need every library; these tests only read the table.
namespace trireme {

int run_command(const Options&, const Environment&) { return 0; }
int convert_command(const Options&, const Environment&) { return 0; }
int inspect_command(const Options&, const Environment&) { return 0; }
int topology_command(const Options&, const Environment&) { return 0; }
int tokenize_command(const Options&, const Environment&) { return 0; }
int render_command(const Options&, const Environment&) { return 0; }
int bench_command(const Options&, const Environment&) { return 0; }
int doctor_command(const Options&, const Environment&) { return 0; }
int plan_command(const Options&, const Environment&) { return 0; }
int status_command(const Options&, const Environment&) { return 0; }

}  // namespace trireme

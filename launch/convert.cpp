#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/writer_group.h"
#include "launch/commands.h"
#include "model/import.h"

namespace trireme {

namespace {

constexpr size_t kWorstTensors = 5;

// What the other format changed, by class of tensors, and where most.
void print_report(const ConvertReport& report, const std::string& dtype) {
  if (report.classes.empty()) {
    if (dtype == "int8" || dtype == "int4")
      fmt::print("--dtype {} changed nothing: no matrix has rows of whole groups of 32 columns\n", dtype);
    return;
  }
  fmt::print("error of --dtype {}, relative RMS:", dtype);
  for (const ConvertReport::Entry& e : report.classes) fmt::print(" {} {:.5f}", e.name, e.relative_rms());
  fmt::print("\nworst tensors:");
  for (size_t i = 0; i < std::min(kWorstTensors, report.tensors.size()); i++)
    fmt::print(" {} {:.5f}", report.tensors[i].name, report.tensors[i].relative_rms());
  fmt::print("\n");
}

}  // namespace

int convert_command(const Options& options, const Environment&) {
  if (options.output.empty()) fail(ExitCode::usage, "convert needs an output; add -o MODEL.h5");
  WriterGroup group = WriterGroup::world(options.deadline());
  auto start = std::chrono::steady_clock::now();
  const ConvertReport report =
      convert_model(options.input, options.output, group,
                    {.weights = weight_choice(options.dtype), .follow_links = options.follow_links});
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (group.rank() != 0) return 0;
  Checkpoint checkpoint(options.output);
  double mb = static_cast<double>(checkpoint.file_bytes()) / 1e6;
  fmt::print("{}: {} tensors, {:.1f} MB, digest {}, written by {} rank{} in {:.1f} s ({:.0f} MB/s)\n", options.output,
             checkpoint.tensors().size(), mb, checkpoint.digest(), group.size(), group.size() == 1 ? "" : "s", seconds,
             mb / seconds);
  print_report(report, options.dtype);
  return 0;
}

}  // namespace trireme

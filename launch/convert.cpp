#include <fmt/format.h>

#include <chrono>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/writer_group.h"
#include "launch/commands.h"
#include "model/import_gguf.h"

namespace trireme {

int convert_command(const Options& options, const Environment&) {
  if (options.output.empty()) fail(ExitCode::usage, "convert needs an output; add -o MODEL.h5");
  if (!Gguf::is_gguf(options.input))
    fail(ExitCode::bad_data,
         "cannot convert '{}': it is not a GGUF file; Hugging Face folders come with a later version", options.input);
  WriterGroup group = WriterGroup::world();
  auto start = std::chrono::steady_clock::now();
  convert_gguf(options.input, options.output, group);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (group.rank() != 0) return 0;
  Checkpoint checkpoint(options.output);
  double mb = static_cast<double>(checkpoint.file_bytes()) / 1e6;
  fmt::print("{}: {} tensors, {:.1f} MB, digest {}, written by {} rank{} in {:.1f} s\n", options.output,
             checkpoint.tensors().size(), mb, checkpoint.digest(), group.size(), group.size() == 1 ? "" : "s", seconds);
  return 0;
}

}  // namespace trireme

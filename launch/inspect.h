#pragma once

#include "launch/options.h"

namespace trireme {

// Prints config and tensors of a Hugging Face folder; a JSON object with --json.
int inspect_folder(const Options& options);

// Counts what a run wrote: rows by finish_reason and error, tokens, a digest of all digests.
int inspect_result(const Options& options);

}  // namespace trireme

#pragma once

#include "launch/options.h"

namespace trireme {

// Prints config and tensors of a Hugging Face folder; a JSON object with --json.
int inspect_folder(const Options& options);

}  // namespace trireme

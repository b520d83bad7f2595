#pragma once

#include <string>

#include "base/log.h"
#include "comm/communicator.h"

namespace trireme {

// The checkpoint behind `-m`: a .h5 as it is; a GGUF file or a Hugging Face folder is converted once, to FILE.gguf.h5
// beside it or FOLDER/trireme.h5, or (where that is read-only) in the cache folder, which `log` says with its size; and
// again when a file of it has changed (launch/converted_from.h). Collective over `world`.
std::string checkpoint_of(const std::string& model, Communicator& world, Log& log);

}  // namespace trireme

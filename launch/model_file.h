#pragma once

#include <string>

#include "base/log.h"
#include "comm/communicator.h"

namespace trireme {

// The checkpoint behind `-m`: a .h5 as it is; a GGUF file is converted once, beside it or (where that is read-only) in
// the cache folder, which `log` says with its size. Collective over `world`.
std::string checkpoint_of(const std::string& model, Communicator& world, Log& log);

}  // namespace trireme

#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"

namespace trireme {

// The checkpoint behind `-m`: a .h5 as it is; a GGUF file or a Hugging Face folder is converted once, to FILE.gguf.h5
// beside it or FOLDER/trireme.h5, or (where that is read-only) in the cache folder, which `log` says with its size; and
// again when a file of it has changed (launch/converted_from.h). Every rank sees it, or all throw. Collective over
// `world`.
std::string checkpoint_of(const std::string& model, Communicator& world, Log& log);
// Opened on every rank, or all throw.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const Communicator& world);

}  // namespace trireme

#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace trireme {

// Which ranks share memory with this one, [size]: proved by writing into each other's memory, never concluded from host
// names, since containers and namespaces may split a host. Collective. MPI carries names only; the secret that proves
// the sharing is read from the memory itself and answered through it.
std::vector<bool> prove_shared_memory(const Communicator& world, uint64_t job_token);

}  // namespace trireme

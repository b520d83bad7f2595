#pragma once

#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace trireme {

// Runs f, which makes no call to other ranks, and then lets all ranks throw when any of them has failed.
template <typename F>
void together(Communicator& world, const F& f) {
  std::string fault;
  int code = 0;
  try {
    f();
  } catch (const Error& error) {
    fault = error.what();
    code = static_cast<int>(error.code());
  }
  world.agree(fault, code);
}

}  // namespace trireme

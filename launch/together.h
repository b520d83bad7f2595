#pragma once

#include "comm/communicator.h"
#include "launch/fault.h"

namespace trireme {

// Runs f, which makes no call to other ranks, and then lets all ranks throw when any of them has failed.
template <typename F>
void together(const Communicator& world, const F& f) {
  Fault fault;
  try {
    f();
  } catch (...) {
    fault = Fault::current();
  }
  world.agree(fault.text, static_cast<int>(fault.code));
}

}  // namespace trireme

#pragma once

#include "comm/communicator.h"
#include "launch/fault.h"

namespace trireme {

// Runs f and then lets all ranks throw when any of them has failed. What f asks of other ranks fails on all who take
// part in it, or on none: nobody waits for a rank that is here already.
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

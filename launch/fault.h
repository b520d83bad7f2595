#pragma once

#include <string>

#include "base/error.h"

namespace trireme {

// What ended a command, in the words for its user.
struct Fault {
  ExitCode code = ExitCode::done;
  std::string text;  // "" when there is none

  static Fault current();  // of the exception being handled
};

}  // namespace trireme

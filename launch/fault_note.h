#pragma once

#include <atomic>
#include <string>

#include "launch/environment.h"
#include "launch/fault.h"

namespace trireme {

// fault.json of the run folder: the fault of the rank that failed first, which a rank other than 0 cannot put into
// status.json. Any rank and any thread may leave one; where a host does not see the folder, nothing happens.
class FaultNote {
 public:
  FaultNote(const std::string& output, const Environment& environment);
  void begin() { begun_ = true; }  // the run folder is this run's: before, a note would speak of another
  // Takes two seconds at most.
  void leave(const Fault& fault) const noexcept;

 private:
  std::string path_, host_;
  int rank_;
  std::atomic<bool> begun_ = false;
};

}  // namespace trireme

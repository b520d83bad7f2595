#pragma once

#include <chrono>
#include <map>
#include <vector>

#include "job/dealer.h"

namespace trireme {

// Rank 0 and the leaders of other replicas, who otherwise speak only when there are documents or results: each says
// once a second that it is there, and gives up on a peer that was silent for the deadline. Rank 0's last sign says that
// the job is over: it has the results of all.
class SignsOfLife {
 public:
  // peers: the other leaders on rank 0, rank 0 on any other leader.
  SignsOfLife(Transport& transport, const std::vector<int>& peers, std::chrono::milliseconds deadline);

  void exchange();                              // call it every step; throws Error(stuck) naming the silent rank
  void leave();                                 // rank 0's last sign
  bool over() const { return heard_.empty(); }  // on a leader: it came

  static constexpr int kAliveTag = 103;  // flag: that was the last

 private:
  using Clock = std::chrono::steady_clock;
  void send(bool last);

  Transport& transport_;
  std::map<int, Clock::time_point> heard_;  // of the peers that have not left
  std::chrono::milliseconds deadline_;
  Clock::time_point sent_;
};

}  // namespace trireme

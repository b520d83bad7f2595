#pragma once

#include <chrono>
#include <map>
#include <vector>

#include "base/patience.h"
#include "job/dealer.h"

namespace trireme {

// Rank 0 and the leaders of other replicas, who otherwise speak only when there are documents or results: each says
// once a second, or four times a deadline, that it is there and how far it is, and gives up on a peer that was silent
// for the deadline. Rank 0's last sign says that the job is over: it has the results of all.
class SignsOfLife {
 public:
  // peers: the other leaders on rank 0, rank 0 on any other leader.
  SignsOfLife(Transport& transport, const std::vector<int>& peers, std::chrono::milliseconds deadline);

  // Call it every step; positions: run through the model by this replica. Throws Error(rank_lost) naming the silent
  // rank.
  void exchange(int64_t positions);
  int64_t positions_elsewhere() const;          // by the peers' replicas, as they said last
  void leave();                                 // rank 0's last sign
  bool over() const { return peers_.empty(); }  // on a leader: it came

  static constexpr int kAliveTag = 103;  // flag: that was the last; int64: positions

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    Patience silence;
    int64_t positions = 0;
  };
  void send(bool last, int64_t positions);
  Patience patience() const;

  Transport& transport_;
  std::map<int, Peer> peers_;  // that have not left
  std::chrono::milliseconds deadline_, every_;
  Clock::time_point sent_;
};

}  // namespace trireme

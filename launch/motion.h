#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/collective.h"
#include "comm/nccl.h"
#include "comm/nccl_communicator.h"
#include "launch/fault.h"
#include "launch/options.h"
#include "topology/machine.h"
#include "topology/placement.h"

namespace trireme {

// What the ranks of a replica pass to each other, and what may carry it.
struct MotionNeed {
  const Layout& layout;
  const std::vector<MeasuredLink>& links;  // as they proved themselves
  size_t window_bytes, result_bytes;       // of a group's windows; of those for results, 0: not the last stage
  size_t hop_bytes;                        // of the largest message between stages
  std::vector<std::string> chips;          // [ranks] equal where ranks share a GPU's chip
  bool free_order;                         // --numerics fast: sums may be added in any order
  std::string nccl;                        // --nccl: "auto", "off" or a file
  bool keep_nccl_log;                      // the user does not ask NCCL for it
  std::vector<std::string> files;          // where NCCL may be, for dlopen
  std::chrono::milliseconds deadline;      // for all ranks to meet in NCCL
};

// How bytes move between the ranks of a replica: chosen once. Between GPUs that cannot open each other's windows, and
// from stage to stage, by NCCL where all ranks have it and each its own chip; else through the host's memory. NCCL
// adds, too, where the order is free. `fabric` and the device outlive it.
class Motion {
 public:
  // Collective over `world`. gpu: `device` where it is one, or null.
  Motion(Communicator& world, Fabric& fabric, Device& device, CudaDevice* gpu, const MotionNeed& need);

  Collective& group() const { return *group_; }
  Collective& sampling_group() const { return sampling_group_ ? *sampling_group_ : *group_; }
  Receiver* previous() const { return previous_.get(); }  // null: the first stage
  Sender* next() const { return next_.get(); }            // null: the last

  // Of this rank: "group by p2p, hops by NCCL 2.28.9 (P2P/IPC)"; and the same for status.json, null on CPUs.
  std::string text() const;
  nlohmann::ordered_json report() const;
  // Of all ranks, at rank 0: why NCCL is not used, and which GPUs it reaches by a slow path.
  void say(Log& log) const;

 private:
  // This rank's communicators; null where it needs none.
  struct Links {
    std::shared_ptr<NcclCommunicator> group;
    std::unique_ptr<NcclCommunicator> previous, next;
  };

  bool apart(int rank, int other) const;
  bool members_apart() const;
  int nccl_neighbour(int step) const;
  bool open_nccl();
  void make_group();
  void make_sampling_group();
  void use_nccl();
  bool join_all(Links& links);
  bool join_together(Links& links, const std::function<void()>& join);
  Communicator::FirstFault first_of(Fault fault) const;
  std::unique_ptr<NcclCommunicator> join(std::vector<int> members, int marks);
  std::string detour(const NcclCommunicator& link, const std::vector<int>& members) const;
  std::string way_of(const NcclCommunicator& link) const;
  void take(Links links);
  void make_hops();
  void share_slow_paths();
  int neighbour(int step) const;

  Communicator& world_;
  Fabric& fabric_;
  Device& device_;
  CudaDevice* gpu_;
  const MotionNeed need_;
  Coordinates here_;
  std::vector<int> members_;                           // of the group
  bool group_by_nccl_ = false, sums_by_nccl_ = false;  // wanted
  bool sums_alone_ = false;                            // no rank wants it for anything else
  std::unique_ptr<Nccl> nccl_;
  std::unique_ptr<GroupSum> sum_;
  std::unique_ptr<Collective> group_;
  std::unique_ptr<Collective> sampling_group_;  // the same ranks, for results that the host reads; else `group_` serves
  std::unique_ptr<Receiver> previous_;
  std::unique_ptr<Sender> next_;
  std::string group_way_, sum_way_, next_way_;  // how its bytes go
  std::string missing_;            // why NCCL is not used where it could be; "": it is, or nothing asks for it
  std::vector<std::string> slow_;  // pairs of ranks
};

// Where NCCL's library may be, best first: nowhere with --nccl off; the file that it names; else where people have it.
std::vector<std::string> nccl_files(const Options& options);

}  // namespace trireme

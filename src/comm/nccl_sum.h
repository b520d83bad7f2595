#pragma once

#include "comm/collective.h"
#include "comm/nccl_communicator.h"

namespace trireme {

// A group's sums by NCCL's all-reduce. They run on the lane, between what the device was given before and what it is
// given after; a host that waits for the device asks NCCL for faults.
class NcclSum final : public GroupSum {
 public:
  static constexpr int kMarks = 1;

  // mark: of the group's, for this alone.
  NcclSum(std::shared_ptr<NcclCommunicator> group, CudaDevice& gpu, int mark);
  ~NcclSum() override { gpu_.waits_for("", nullptr); }
  NcclSum(const NcclSum&) = delete;
  NcclSum& operator=(const NcclSum&) = delete;
  void add_up(float* data, size_t count) override;

 private:
  std::shared_ptr<NcclCommunicator> group_;
  CudaDevice& gpu_;
  int mark_;
};

}  // namespace trireme

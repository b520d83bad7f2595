#include "comm/nccl_sum.h"

namespace trireme {

NcclSum::NcclSum(std::shared_ptr<NcclCommunicator> group, CudaDevice& gpu, int mark)
    : group_(std::move(group)), gpu_(gpu), mark_(mark) {
  gpu_.waits_for(group_->group_text() + " (NCCL)", [group = group_.get()] { group->ask(); });
}

void NcclSum::add_up(float* data, size_t count) {
  group_->follow();
  group_->start_sum(data, count, mark_);
  group_->lead(mark_);
}

}  // namespace trireme

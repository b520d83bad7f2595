#include "plan/question.h"

namespace trireme {

std::vector<Precision> PlanQuestion::lower_precisions() const {
  std::vector<Precision> lower;
  if (model.precision() == Precision::bf16)
    lower.push_back(cluster.device.fp8_flops > 0 && !profile.own() ? Precision::fp8 : Precision::int8);
  if (precision_bits(model.precision()) > 4)
    lower.push_back(cluster.device.fp4_flops > 0 && !profile.own() ? Precision::fp4 : Precision::int4);
  return lower;
}

}  // namespace trireme

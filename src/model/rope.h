#pragma once

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace trireme {

// cos and sin of position * theta^(-2i / head_dim), as transformers has them: the frequency and the angle are rounded
// to FP32, everything else is computed in FP64 by our own functions. Owns the table.
class Rope {
 public:
  Rope(const ModelConfig& config, int64_t positions);
  RopeTable table() const { return table_; }

 private:
  Buffer memory_;
  RopeTable table_;
};

}  // namespace trireme

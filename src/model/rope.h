#pragma once

#include "base/buffer.h"
#include "device/device.h"
#include "model/config.h"

namespace trireme {

// cos and sin of position * frequency for one set of frequencies, as transformers has them: frequencies and angles are
// rounded to FP32, everything else is computed in FP64 by our own functions. Owns the table: [positions, rotary / 2],
// twice for longrope, whose second half is for long sequences.
class Rope {
 public:
  Rope(const RopeConfig& config, int64_t positions);
  static int64_t bytes(const RopeConfig& config, int64_t positions);
  RopeTable table() const { return table_; }
  void move_to(Device& device);

 private:
  Buffer memory_;
  RopeTable table_;
};

}  // namespace trireme

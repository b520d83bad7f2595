#pragma once

#include <vector>

// What the environment says of the emulated GPU.
namespace trireme::testkit {

// "1@2" is rank 2's alone.
int setting(const char* name, int otherwise);

// A GPU, or an instance of one (from 1).
struct Visible {
  unsigned chip, instance = 0;
};
// What CUDA_VISIBLE_DEVICES, numbers or UUIDs of instances as tests/testkit/nvml has them, leaves of the GPUs: up to
// the first word that names none, and an instance alone.
std::vector<Visible> visible_devices();

}  // namespace trireme::testkit

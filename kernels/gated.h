#pragma once

#include "kernels/elementary.h"
#include "kernels/kernels.h"

namespace trireme {

// A value of GatedMul.
TRIREME_HD inline float gated(Activation activation, float gate, float up) {
  return (activation == Activation::silu ? silu(gate) : gelu_tanh(gate)) * up;
}

}  // namespace trireme

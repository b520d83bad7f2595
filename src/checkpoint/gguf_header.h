#pragma once

#include <vector>

#include "checkpoint/gguf.h"

namespace trireme {

// What stands before the weights of one GGUF file.
struct GgufHeader {
  int version = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the file's order, their offsets counted from its begin; they point at `file`
};

// Reads and checks it, as gguf.h says. A hostile header costs less than 200 MB. Names of tensors may stand twice.
GgufHeader read_gguf_header(const InputFile& file);

}  // namespace trireme

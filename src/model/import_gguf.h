#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/gguf.h"
#include "checkpoint/writer.h"
#include "model/config.h"
#include "model/tensor_table.h"
#include "model/units.h"

namespace trireme {

// What a GGUF file holds, understood as a model: every tensor that the architecture needs, with its shape, and nothing
// else. Throws Error(bad_data) naming the tensor or metadata key that is missing, unexpected or not supported.
struct GgufModel {
  ModelConfig config;
  int unit_group = 1;  // columns that share a scale in the row-parallel weights, over all layers
  UnitTable units;
  std::vector<TensorSlot> slots;           // in checkpoint order
  std::vector<const GgufTensor*> sources;  // of each slot; they belong to the Gguf

  explicit GgufModel(const Gguf& gguf);
};

// done and total: bytes of weights that this rank has written and will write.
using ConvertProgress = std::function<void(uint64_t done, uint64_t total)>;

// Collective: makes the checkpoint `destination` from a GGUF file, the ranks sharing the work unit by unit. Memory of a
// rank: the file's header, and about 48 MiB or one unit where that is larger. No value is rounded.
void convert_gguf(const std::string& source, const std::string& destination, const WriterGroup& group,
                  const ConvertProgress& progress = {});

}  // namespace trireme

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/writer.h"
#include "model/config.h"
#include "model/model_source.h"
#include "model/source_units.h"
#include "model/tensor_table.h"
#include "model/units.h"

namespace trireme {

// What matrices are stored as (convert --dtype). Norms and biases are FP32 whatever they were; matrices that no units
// cut (the routers of experts) and rows that are no whole groups of 32 stay as they are where int8 or int4 is asked
// for. int4 keeps embedding and head at 8 bits: an error there goes into every logit, and they are few of a large
// model's bytes. fp8 is E4M3 with a scale for each row of a unit, of any number of columns.
enum class WeightChoice : uint8_t { keep, bf16, fp32, int8, int4, fp8 };
// "keep", "bf16", ...; throws Error(usage).
WeightChoice weight_choice(std::string_view name);
// What a tensor whose source is `kept` is stored as.
WeightFormat stored_format(const TensorSlot& slot, const WeightFormat& kept, WeightChoice choice);

// A source understood as a model: every tensor that the architecture needs, with its shape, and nothing else. Throws
// Error(bad_data) naming the tensor or config field that is missing, unexpected or not supported.
struct ModelImport {
  ModelConfig config;
  int unit_group = 1;  // columns that share a scale in the row-parallel weights as stored, over all layers
  UnitTable units;
  std::vector<TensorPlan> plans;    // in checkpoint order; their sources belong to the ModelSource or are in `turned`
  std::deque<SourceTensor> turned;  // vectors that are cut by rows, seen as one column

  ModelImport(const ModelSource& source, WeightChoice choice);
};

// What storing the weights in another format changed.
struct ConvertReport {
  struct Entry {
    std::string name;  // a class ("q", "down", "embedding") or a tensor
    EncodingError error;
    double relative_rms() const;  // root of the mean square of the error, over that of the values
  };
  std::vector<Entry> classes;  // in the order of the model; only those that were encoded anew
  std::vector<Entry> tensors;  // the worst first
};

// done and total: bytes of weights that this rank has written and will write.
using ConvertProgress = std::function<void(uint64_t done, uint64_t total)>;

struct ConvertOptions {
  WeightChoice weights = WeightChoice::keep;
  bool follow_links = false;
  ConvertProgress progress;
};

// Collective: makes the checkpoint `destination` from a GGUF file or a Hugging Face folder, the ranks sharing the work
// unit by unit; the same bytes, and the same report on every rank, for any number of them. Memory of a rank: the
// source's headers, and about 48 MiB or one unit where that is larger.
ConvertReport convert_model(const std::string& source, const std::string& destination, const WriterGroup& group,
                            const ConvertOptions& options = {});

}  // namespace trireme

#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/writer_group.h"

namespace trireme {

// What a checkpoint is made of, before its weights. The same on every rank.
struct CheckpointContent {
  int unit_formula = 0;
  int unit_group = 1;
  nlohmann::json config;
  std::vector<std::pair<std::string, std::string>> blobs;  // name, text; empty ones are left out
  std::vector<TensorInfo> tensors;  // in the order of the model; parts are filled in by the writer
};

// Writes a checkpoint with parallel HDF5: to a temporary name beside `path`, renamed when all is on disk. The same
// bytes come out whatever the number of ranks. Without finish() nothing is left.
class CheckpointWriter {
 public:
  // Collective. Checks the space, creates the file and every dataset. A checkpoint at `path` is replaced, anything else
  // there is Error(cannot_create). Throws on all ranks or none.
  CheckpointWriter(const WriterGroup& group, const std::string& path, const CheckpointContent& content);
  ~CheckpointWriter();  // collective
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Not collective. Every unit of every tensor is written once, by any one rank; padding must be zeros. At most 1 GiB a
  // call.
  void write(size_t tensor, UnitRange units, std::span<const std::byte> values, std::span<const std::byte> scales,
             std::span<const std::byte> minimums);
  // Collective: gathers checksums, closes, writes the index, syncs, renames.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/weight_source.h"
#include "model/config.h"
#include "model/import.h"

namespace trireme {

// Weights that nobody trained, made where they are asked for: a model of this shape costs what a real one does, and
// needs no file. Small random values, norms of 1; each unit from the tensor's name and its number alone, so that every
// layout has the same. There is no tokenizer.
class SyntheticWeights final : public WeightSource {
 public:
  // name: what messages call the model. choice: as if converted from BF16. Allocates the table of tensors alone.
  SyntheticWeights(const std::string& name, const ModelConfig& config, WeightChoice choice);

  const std::string& path() const override { return path_; }
  const std::string& digest() const override { return digest_; }
  const nlohmann::json& config() const override { return config_; }
  int unit_formula() const override { return kUnitFormulaVersion; }
  std::string read_blob(std::string_view) const override { return ""; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find_tensor(std::string_view name) const override;
  // By all CPUs of the process, each of which takes whole requests: their consumers must not touch the same bytes.
  // Holds for each CPU about 1 MiB of staging memory, or what is asked for of a unit where that is larger.
  ReadStats read(std::vector<Request> requests) const override;
  bool gives_rows() const override { return true; }

 private:
  std::string path_, digest_;
  nlohmann::json config_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace trireme

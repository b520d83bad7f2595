#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/weight_source.h"
#include "model/config.h"
#include "model/model_source.h"

namespace trireme {

// The table of tensors that a GGUF file or a Hugging Face folder would have as a checkpoint: sizes, with no bytes
// behind them.
class PlannedWeights final : public WeightSource {
 public:
  explicit PlannedWeights(const ModelSource& source);  // throws Error(bad_data), as converting it would

  const std::string& path() const override { return path_; }
  const std::string& digest() const override { return digest_; }
  const nlohmann::json& config() const override { return config_; }
  int unit_formula() const override;
  std::string read_blob(std::string_view) const override { return ""; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find_tensor(std::string_view name) const override;
  ReadStats read(std::vector<Request> requests) const override;  // an internal error: there is nothing to read

 private:
  std::string path_, digest_;
  nlohmann::json config_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, const TensorInfo*> by_name_;
};

}  // namespace trireme

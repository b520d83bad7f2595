#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/synthetic_weights.h"

namespace trireme::testing {

// Made-up weights in BF16 whose bits are taken for FP16, as Llama 2's checkpoints have it: finite numbers, too.
class F16Weights final : public WeightSource {
 public:
  F16Weights(const std::string& name, const ModelConfig& config) : bf16_(name, config, WeightChoice::bf16) {
    for (TensorInfo t : bf16_.tensors()) {
      if (t.format.type == DType::bf16) t.format.type = DType::f16;
      tensors_.push_back(std::move(t));
    }
  }

  const std::string& path() const override { return bf16_.path(); }
  const std::string& digest() const override { return bf16_.digest(); }
  const nlohmann::json& config() const override { return bf16_.config(); }
  int unit_formula() const override { return bf16_.unit_formula(); }
  std::string read_blob(std::string_view name) const override { return bf16_.read_blob(name); }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find_tensor(std::string_view name) const override {
    for (const TensorInfo& t : tensors_)
      if (t.name == name) return &t;
    return nullptr;
  }
  ReadStats read(std::vector<Request> requests) const override {
    for (Request& r : requests) r.tensor = &bf16_.get_tensor(r.tensor->name);
    return bf16_.read(std::move(requests));
  }
  bool gives_rows() const override { return bf16_.gives_rows(); }

 private:
  SyntheticWeights bf16_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace trireme::testing

#include "plan/planned_weights.h"

#include <nlohmann/json.hpp>

#include "base/must.h"
#include "model/import.h"

namespace trireme {

PlannedWeights::PlannedWeights(const ModelSource& source) : path_(source.path) {
  const ModelImport import(source, WeightChoice::keep);
  config_ = import.config.to_json();
  for (const TensorPlan& plan : import.plans) tensors_.push_back(plan.info);
  for (const TensorInfo& t : tensors_) by_name_[t.name] = &t;
}

int PlannedWeights::unit_formula() const { return kUnitFormulaVersion; }

const TensorInfo* PlannedWeights::find_tensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

WeightSource::ReadStats PlannedWeights::read(std::vector<Request>) const {
  must(false, "nobody reads weights that are only planned for");
  return {};
}

}  // namespace trireme

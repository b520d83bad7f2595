#include "checkpoint/weight_source.h"

#include "base/error.h"

namespace trireme {

const TensorInfo& WeightSource::get_tensor(std::string_view name) const {
  if (const TensorInfo* tensor = find_tensor(name)) return *tensor;
  fail(ExitCode::bad_data, "{}: the tensor {} is missing; convert the model again", path(), name);
}

}  // namespace trireme

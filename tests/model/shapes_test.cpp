#include "model/shapes.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "base/error.h"
#include "model/tensor_table.h"
#include "testkit/error_of.h"

using namespace trireme;

namespace {

// As the safetensors of each on huggingface.co add up to; of gpt-530b what its paper says (arXiv 2201.11990).
const std::map<std::string, double> kPublished = {
    {"smollm2-135m", 134515008},    {"llama-2-7b", 6738415616},     {"llama-2-13b", 13015864320},
    {"llama-2-70b", 68976648192},   {"llama-3.2-1b", 1235814400},   {"llama-3.2-3b", 3212749824},
    {"llama-3.1-8b", 8030261248},   {"llama-3.1-70b", 70553706496}, {"llama-3.1-405b", 405853388800},
    {"mistral-7b", 7248023552},     {"qwen2.5-0.5b", 494032768},    {"qwen2.5-7b", 7615616512},
    {"qwen2.5-72b", 72706203648},   {"qwen3-8b", 8190735360},       {"qwen3-32b", 32762123264},
    {"qwen3-30b-a3b", 30532122624}, {"mixtral-8x7b", 46702792704},  {"gpt-530b", 530e9}};

double parameters_of(const ModelConfig& config) {
  double parameters = 0;
  for (const TensorSlot& slot : tensor_slots(config, UnitTable::of(config, 1)))
    parameters += static_cast<double>(slot.rows) * static_cast<double>(slot.columns);
  return parameters;
}

}  // namespace

TEST_CASE("every shape has the parameters of the model that it is named after") {
  CHECK(model_shapes().size() == kPublished.size());
  for (const ModelShape& shape : model_shapes()) {
    CAPTURE(shape.name);
    REQUIRE(kPublished.contains(shape.name));
    const double published = kPublished.at(shape.name), parameters = parameters_of(shape.config());
    CAPTURE(parameters);
    if (std::string(shape.name) == "gpt-530b")
      CHECK(std::abs(parameters - published) < 0.01 * published);
    else
      CHECK(parameters == published);
  }
}

TEST_CASE("a shape is found by its name; another name is refused with the nearest and all that there are") {
  CHECK(get_shape("llama-3.1-8b").config().num_kv_heads == 8);
  CHECK(get_shape("Llama-3.1-8B").config().num_kv_heads == 8);
  const std::string said = testkit::error_of([] { get_shape("Llama3.1-8B"); });
  CHECK(said.find("--shape: there is no shape 'Llama3.1-8B'") != std::string::npos);
  CHECK(said.find("did you mean llama-3.1-8b?") != std::string::npos);
  CHECK(said.find("smollm2-135m, ") != std::string::npos);
}

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "plan/precision.h"

namespace trireme {

// What a published config.json says of a checkpoint that others have quantized. nullopt: nothing that a plan knows.
struct PublishedPrecision {
  std::optional<Precision> weights;
  std::optional<double> kv_bytes;  // of an element of keys and values

  // quantization: the object in "quantization_config" or "compression_config", or whatever stands there.
  static PublishedPrecision of(const nlohmann::json& quantization);
};

}  // namespace trireme

#pragma once

#include <nlohmann/json.hpp>

#include "checkpoint/gguf.h"

namespace trireme {

// The metadata of a GGUF file as the config.json that transformers would have for the model. Throws Error(bad_data)
// naming a key that is missing, or known to no one here and thus perhaps not without effect.
nlohmann::json gguf_config_json(const Gguf& gguf);

}  // namespace trireme

#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/gguf_keys.h"

namespace trireme {

// What a GGUF file says about rotary embeddings, as the rope_parameters of a transformers config: rope_theta, rope_type
// default, linear, yarn or longrope, and what these need. `rotary` is the number of values of a head that turn, for
// which the file may hold factors as tensors:
//   rope_freqs.weight [rotary / 2]: Llama 3's scaling, of which GGUF has only the result. transformers has no field for
//     it; ours is rope_frequency_divisors beside rope_type "default": frequency i is divided by divisor i.
//   rope_factors_long.weight, rope_factors_short.weight [rotary / 2]: long_factor and short_factor of longrope.
// Throws Error(bad_data).
nlohmann::json gguf_rope_parameters(GgufKeys& keys, int64_t rotary);

// Whether a tensor is one of those above: read by the config, no weight of the model.
bool is_gguf_rope_tensor(std::string_view name);

}  // namespace trireme

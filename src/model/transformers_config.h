#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "model/config.h"

namespace trireme {

// A config.json as transformers publishes it, in the old style (rope_theta, rope_scaling, torch_dtype) or the new one
// (rope_parameters, dtype), as features. The families known are a table in transformers_config.cpp: a row says what a
// family's fields mean. Throws Error(bad_data) naming `source` and the field for a family or feature that is not
// supported, and for any field that is not known: ignoring it could change the results.
ModelConfig config_from_transformers(const nlohmann::json& json, const std::string& source);

// Whether a row of that table has this model_type.
bool runs_family(std::string_view model_type);

// "llama, mistral, ...": for errors and help.
std::string supported_families();

}  // namespace trireme

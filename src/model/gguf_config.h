#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "checkpoint/gguf.h"

namespace trireme {

// The model of a GGUF file as the config.json that a Hugging Face folder of it would have, new style (rope_parameters,
// layer_types), with three fields of ours: add_bos_token, eos_token_id always as a list, and rope_frequency_divisors
// (gguf_rope.h). What llama.cpp fixes by convention instead of writing it down is filled in: see the table in
// gguf_config.cpp. Shapes are those the file claims; whoever reads the config checks them, and the tensors against
// them. Throws Error(bad_data) naming file, key and value: an architecture that is not known, a key that is missing or
// of another type, and any key of the architecture that could change results and has no place here.
nlohmann::json gguf_config_json(const Gguf& gguf);

std::string supported_gguf_architectures();  // "llama, qwen2, ..."

}  // namespace trireme

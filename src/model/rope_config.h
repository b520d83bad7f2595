#pragma once

#include "model/config.h"
#include "model/config_reader.h"

namespace trireme {

// The sets of rotary frequencies of a published config, into c.ropes: rope_theta and rope_scaling in the old style,
// rope_parameters in the new one, which may hold a set for full and one for sliding attention. Needs c.head_dim and
// c.max_positions. default_theta: the family's. local_theta > 0: layers with a window have a set of their own, from
// "rope_local_base_freq" or rope_parameters, with this theta by default.
void read_ropes(ConfigReader& in, ModelConfig& c, double default_theta, double local_theta, const std::string& source);

}  // namespace trireme

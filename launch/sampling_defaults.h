#pragma once

#include <string>

#include "launch/options.h"

namespace trireme {

// What a model's generation_config.json says of sampling, for the options that nobody has given: command line >
// environment > config file > model > default. `do_sample` false or absent is greedy decoding, the default.
struct SamplingDefaults {
  std::string taken;  // "temperature 0.6, top_p 0.9", "" for none
  std::string
      left_out;  // settings that this version does not have and that would change results: "repetition_penalty 1.1"

  // generation: the text stored in the checkpoint, "" for none. Throws Error(bad_data) naming the field for a value out
  // of range, Error(usage) when the user's top-p or top-k then has nothing to act on.
  static SamplingDefaults apply(const std::string& generation, const std::string& path, Options* options);
};

}  // namespace trireme

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "model/config.h"

namespace trireme {

// A model as others publish it: what a plan reads of its config.json. Of a family that this engine runs all that
// transformers_config.h reads; of others, and of the text model inside one that also sees or hears, its sizes.
struct PublishedModel {
  ModelConfig config;         // its layers are alike: where the model's are not, each is their mean
  double shared_columns = 0;  // of an MLP beside the experts that every token uses: shared experts, layers without any
  bool chunked = false;       // its windows are chunks, all of whose keys and values engines keep
  std::string foreign_type;   // "model_type" of what this engine does not run; "": it runs it

  // Throws Error(bad_data) naming `source` and the field: a family or an attention whose sizes nobody wrote down here,
  // a size that is missing or impossible.
  static PublishedModel read(const nlohmann::json& json, const std::string& source);
};

}  // namespace trireme

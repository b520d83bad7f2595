#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/options.h"

namespace trireme {

// What all ranks must have alike: else each makes a layout of its own, or a document's result is decided by the replica
// that took it. Options by their names, "--seed"; left out are those of files, whose content counts, general ones,
// and what is a rank's own (its host's NCCL, its cache). A value that is long or not plain stands as its digest, so
// that one line can show it.
nlohmann::ordered_json option_traits(const Options& options);

// [ranks] each with its "host" and its traits, which are looked through in the order of rank 0's. Names the first rank
// that differs from rank 0, and in what; "" when all are alike.
std::string first_difference(const std::vector<nlohmann::ordered_json>& ranks);

}  // namespace trireme

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace trireme {

// A note beside a checkpoint that was made from a model for `-m`: FILE.h5.source, JSON with the checkpoint's digest and
// the size and time of change of every file it was made from. It tells later whether the checkpoint still stands for
// them: a file that was replaced by an older one, edited or taken away is noticed, not only a newer one.

// files: what is read of the model. Ask before they are converted: a file that changes meanwhile is noticed next time.
// Null when one is gone.
nlohmann::json state_of_source(const std::vector<std::string>& files);
// Throws Error(cannot_create).
void note_source(const std::string& checkpoint, const nlohmann::json& state);
// Whether `checkpoint` is there and whole, and its source was in this state when this version's importer made it.
bool is_current(const std::string& checkpoint, const nlohmann::json& state);

}  // namespace trireme

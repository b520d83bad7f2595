#pragma once

#include <string>
#include <vector>

namespace trireme {

// A note beside a checkpoint that was made from a model for `-m`: FILE.h5.source, JSON with the checkpoint's digest and
// the size and time of change of every file it was made from. It tells later whether the checkpoint still stands for
// them: a file that was replaced by an older one, edited or taken away is noticed, not only a newer one.

// files: what was read of the model. Throws Error(cannot_create).
void note_source(const std::string& checkpoint, const std::vector<std::string>& files);
// Whether `checkpoint` is there and whole, and `files` are as they were when it was made by this version's importer.
bool is_current(const std::string& checkpoint, const std::vector<std::string>& files);

}  // namespace trireme

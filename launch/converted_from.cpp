#include "launch/converted_from.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"

namespace trireme {

namespace {

using nlohmann::json;

constexpr int kImportRevision = 1;  // raised when the importer makes other checkpoints of the same files

std::string note_path(const std::string& checkpoint) { return checkpoint + ".source"; }

json note_of(const std::string& digest, const json& state) {
  return {{"checkpoint", digest}, {"importer", kImportRevision}, {"files", state}};
}

}  // namespace

json state_of_source(const std::vector<std::string>& files) {
  json all = json::array();
  for (const std::string& path : files) {
    struct stat s {};
    if (stat(path.c_str(), &s) != 0) return nullptr;
    all.push_back({{"file", path.substr(path.rfind('/') + 1)},
                   {"bytes", static_cast<int64_t>(s.st_size)},
                   {"seconds", static_cast<int64_t>(s.st_mtim.tv_sec)},
                   {"nanoseconds", static_cast<int64_t>(s.st_mtim.tv_nsec)}});
  }
  return all;
}

void note_source(const std::string& checkpoint, const json& state) {
  replace_file(note_path(checkpoint), note_of(Checkpoint(checkpoint).digest(), state).dump(2) + "\n");
}

bool is_current(const std::string& checkpoint, const json& state) {
  if (state.is_null()) return false;
  try {
    return json::parse(read_whole_file(note_path(checkpoint)), nullptr, false) ==
           note_of(Checkpoint(checkpoint).digest(), state);
  } catch (const Error&) {
    return false;  // absent, of an older format, or damaged: made anew
  }
}

}  // namespace trireme

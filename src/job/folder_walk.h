#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trireme {

// The .txt and .md files below a folder, hidden files and folders left out, in bytewise order of their paths relative
// to it. Holds the names of one folder per depth, not of the whole tree. Links to files are followed, links to folders
// are not (they can form rings).
class FolderWalk {
 public:
  explicit FolderWalk(std::string root);

  struct Entry {
    std::string path;  // relative to the root
    uint64_t bytes = 0;
  };
  std::optional<Entry> next();

 private:
  // Names still to visit, last first; folders end in '/', which makes the order that of the full paths.
  struct Level {
    std::string prefix;
    std::vector<std::string> names;
  };
  void enter(const std::string& prefix);

  std::string root_;
  std::vector<Level> levels_;
};

}  // namespace trireme

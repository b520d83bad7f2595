#include "job/folder_walk.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/error.h"

namespace trireme {

namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

bool is_text_name(std::string_view name) { return name.ends_with(".txt") || name.ends_with(".md"); }

bool is_folder(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

FolderWalk::FolderWalk(std::string root) : root_(std::move(root)) { enter(""); }

void FolderWalk::enter(const std::string& prefix) {
  std::string path = root_ + "/" + prefix;
  std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (!folder)
    fail(ExitCode::no_input, "cannot list folder {}: {} (errno {}); check its permissions", path, errno_text(), errno);
  Level level{prefix, {}};
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    std::string name = entry->d_name;
    if (name.starts_with('.')) continue;
    if (is_folder(path + name))
      level.names.push_back(name + "/");
    else if (is_text_name(name))
      level.names.push_back(name);
    errno = 0;
  }
  if (errno != 0)
    fail(ExitCode::io_error, "cannot list folder {}: {} (errno {}); run again", path, errno_text(), errno);
  std::sort(level.names.begin(), level.names.end(), std::greater<>());
  levels_.push_back(std::move(level));
}

std::optional<FolderWalk::Entry> FolderWalk::next() {
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.names.empty()) {
      levels_.pop_back();
      continue;
    }
    std::string path = level.prefix + level.names.back();
    level.names.pop_back();
    struct stat info {};
    if (path.ends_with('/'))
      enter(path);
    else if (::stat((root_ + "/" + path).c_str(), &info) != 0)
      return Entry{std::move(path), 0};  // a broken link: its row will say so
    else if (S_ISREG(info.st_mode))
      return Entry{std::move(path), static_cast<uint64_t>(info.st_size)};
  }
  return std::nullopt;
}

}  // namespace trireme

#include "base/nvidia_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace trireme {

namespace {

namespace fs = std::filesystem;

// Folders inside `folder` whose names begin so, the last by name first.
std::vector<fs::path> folders_named(const fs::path& folder, std::string_view begin) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with(begin)) found.push_back(it->path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<fs::path> toolkit_folders(std::span<const std::string> prefixes) {
  std::vector<fs::path> toolkits(prefixes.begin(), prefixes.end());
  toolkits.emplace_back("/usr/local/cuda");
  for (const fs::path& version : folders_named("/usr/local", "cuda-")) toolkits.push_back(version);
  toolkits.emplace_back("/opt/cuda");
  std::vector<fs::path> folders;
  for (const fs::path& toolkit : toolkits)
    for (const char* part : {"lib64", "lib", "targets/x86_64-linux/lib"}) folders.push_back(toolkit / part);
  return folders;
}

std::vector<fs::path> wheel_folders(std::string_view wheel, std::span<const std::string> prefixes) {
  std::vector<fs::path> environments(prefixes.begin(), prefixes.end()), folders;
  environments.insert(environments.end(), {"/usr/local", "/usr"});
  for (const fs::path& environment : environments)
    for (const fs::path& python : folders_named(environment / "lib", "python3"))
      for (const char* packages : {"site-packages", "dist-packages"})
        for (const std::string_view of : {std::string_view("cu13"), wheel})
          folders.push_back(python / packages / "nvidia" / of / "lib");
  return folders;
}

}  // namespace

std::vector<std::string> NvidiaLibrary::candidates(std::span<const std::string> names, std::string_view wheel,
                                                   std::span<const std::string> prefixes) {
  std::vector<std::string> found(names.begin(), names.end());
  for (const auto& folders : {toolkit_folders(prefixes), wheel_folders(wheel, prefixes)})
    for (const fs::path& folder : folders)
      for (const std::string& name : names)
        if (std::error_code error; fs::exists(folder / name, error)) found.push_back(folder / name);
  return found;
}

NvidiaLibrary::NvidiaLibrary(const std::string& path)
    : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)), name_(path) {
  if (handle_) return;
  const char* words = dlerror();
  error_ = words ? words : "it cannot be opened";
}

NvidiaLibrary::~NvidiaLibrary() {
  if (handle_) dlclose(handle_);
}

NvidiaLibrary::NvidiaLibrary(NvidiaLibrary&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), name_(std::move(other.name_)), error_(std::move(other.error_)) {}

std::string NvidiaLibrary::path_of(const void* function) const {
  Dl_info info{};
  return dladdr(function, &info) != 0 && info.dli_fname ? info.dli_fname : "";
}

void* NvidiaLibrary::find(const char* name) const { return handle_ ? dlsym(handle_, name) : nullptr; }

}  // namespace trireme

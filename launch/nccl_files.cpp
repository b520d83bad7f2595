#include <algorithm>
#include <filesystem>

#include "launch/motion.h"

namespace trireme {

namespace {

constexpr const char* kName = "libnccl.so.2";

void add(std::vector<std::string>& files, const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path file = folder / kName;
  if (!std::filesystem::is_regular_file(file, error)) return;
  if (std::find(files.begin(), files.end(), file.string()) == files.end()) files.push_back(file.string());
}

// PREFIX/lib/python3.11/site-packages/nvidia/nccl/lib of every version there.
void add_wheels(std::vector<std::string>& files, const std::filesystem::path& prefix) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(prefix / "lib", error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().filename().string().starts_with("python3"))
      for (const char* packages : {"site-packages", "dist-packages"})
        add(files, entry->path() / packages / "nvidia" / "nccl" / "lib");
}

// Folders of PATH that have a python3.
std::vector<std::filesystem::path> python_prefixes(const std::string& path) {
  std::vector<std::filesystem::path> prefixes;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::filesystem::path folder = path.substr(begin, end - begin);
    begin = end + 1;
    std::error_code error;
    if (std::filesystem::exists(folder / "python3", error)) prefixes.push_back(folder.parent_path());
  }
  return prefixes;
}

}  // namespace

std::vector<std::string> nccl_files(const std::string& nccl, const Environment& environment) {
  if (nccl == "off") return {};
  if (nccl != "auto" && !nccl.empty()) return {nccl};
  std::vector<std::string> files = {kName};
  const std::string home = environment.value("CUDA_HOME"), path = environment.value("CUDA_PATH");
  const std::filesystem::path toolkit = !home.empty() ? home : !path.empty() ? path : "/usr/local/cuda";
  for (const char* folder : {"lib64", "lib", "targets/x86_64-linux/lib"}) add(files, toolkit / folder);
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = environment.value(name); !prefix.empty()) add_wheels(files, prefix);
  for (const auto& prefix : python_prefixes(environment.value("PATH"))) add_wheels(files, prefix);
  return files;
}

}  // namespace trireme

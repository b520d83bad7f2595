#include "launch/environment.h"

#include <unistd.h>

#include <charconv>

namespace trireme {

namespace {

int number_or(const std::string& text, int otherwise) {
  int number = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::optional<std::string> Environment::find(const std::string& name) const {
  for (const std::string& entry : entries)
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name))
      return entry.substr(name.size() + 1);
  return std::nullopt;
}

std::vector<std::string> Environment::library_prefixes() const {
  std::vector<std::string> prefixes;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = value(name); !prefix.empty()) prefixes.push_back(prefix);
  if (const std::string home = value("HOME"); !home.empty()) prefixes.push_back(home + "/.local");
  return prefixes;
}

Environment Environment::read() {
  Environment e;
  for (char** entry = environ; *entry; entry++) e.entries.emplace_back(*entry);
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  e.host = host;
  std::string cache = e.value("XDG_CACHE_HOME"), home = e.value("HOME");
  if (!cache.empty())
    e.cache_folder = cache + "/trireme";
  else if (!home.empty())
    e.cache_folder = home + "/.cache/trireme";

  struct Evidence {
    const char *launcher, *rank, *ranks;
  };
  for (auto [launcher, rank, ranks] :
       {Evidence{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
        Evidence{"srun", "SLURM_PROCID", "SLURM_NTASKS"}, Evidence{"pmix", "PMIX_RANK", "PMIX_SIZE"}}) {
    bool step =
        launcher != std::string("srun") || !e.value("SLURM_STEP_ID").empty();  // a batch script alone is no launch
    if (e.value(rank).empty() || !step) continue;
    e.launcher = launcher;
    e.rank = number_or(e.value(rank), 0);
    e.ranks = number_or(e.value(ranks), 1);
    break;
  }
  return e;
}

}  // namespace trireme

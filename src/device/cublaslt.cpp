#include "device/cublaslt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

namespace trireme {

namespace {

const std::array<std::string, 2> kNames = {"libcublasLt.so.13", "libcublasLt.so.12"};

std::string version_text(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

// "": it serves.
std::string bind(CublasLt& lt) {
  const std::pair<const char*, void*> functions[] = {
      {"cublasLtGetVersion", &lt.get_version},
      {"cublasLtGetStatusName", &lt.status_name},
      {"cublasLtCreate", &lt.create},
      {"cublasLtDestroy", &lt.destroy},
      {"cublasLtMatmulDescCreate", &lt.operation_create},
      {"cublasLtMatmulDescDestroy", &lt.operation_destroy},
      {"cublasLtMatmulDescSetAttribute", &lt.operation_set},
      {"cublasLtMatrixLayoutCreate", &lt.layout_create},
      {"cublasLtMatrixLayoutDestroy", &lt.layout_destroy},
      {"cublasLtMatmulPreferenceCreate", &lt.preference_create},
      {"cublasLtMatmulPreferenceDestroy", &lt.preference_destroy},
      {"cublasLtMatmulPreferenceSetAttribute", &lt.preference_set},
      {"cublasLtMatmulAlgoGetHeuristic", &lt.heuristic},
      {"cublasLtMatmul", &lt.matmul},
  };
  for (auto [name, place] : functions) {
    void* function = lt.library.find(name);
    if (!function) return fmt::format("has no {}", name);
    std::memcpy(place, &function, sizeof function);
  }
  const size_t version = lt.get_version();
  lt.version = version_text(version);
  if (version < CublasLt::kOldest)
    return fmt::format("is {}, older than {}; install CUDA 12 or later", lt.version, version_text(CublasLt::kOldest));
  return "";
}

}  // namespace

CublasLt::Search CublasLt::search(std::span<const std::string> candidates) {
  Search search;
  for (const std::string& candidate : candidates) {
    CublasLt lt{NvidiaLibrary(candidate)};
    const bool by_path = candidate.find('/') != std::string::npos;
    if (!lt.library.is_open()) {
      if (by_path && search.missing.empty())  // it is there
        search.missing = fmt::format("{} does not open: {}", candidate, lt.library.error());
      continue;
    }
    const std::string fault = bind(lt);
    if (fault.empty()) {
      lt.path = lt.library.path_of(reinterpret_cast<const void*>(lt.get_version));
      search.found.emplace(std::move(lt));
      search.missing.clear();
      return search;
    }
    if (search.missing.empty()) search.missing = fmt::format("{} {}", candidate, fault);
  }
  if (search.missing.empty())
    search.missing = fmt::format(
        "no {} on the loader's path, in a CUDA toolkit or in Python's packages; set LD_LIBRARY_PATH or CUDA_HOME",
        fmt::join(kNames, " or "));
  return search;
}

CublasLt::Search CublasLt::search_installed(std::span<const std::string> prefixes) {
  return search(NvidiaLibrary::candidates(kNames, "cublas", prefixes));
}

}  // namespace trireme

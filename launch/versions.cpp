#include "launch/versions.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <fmt/format.h>
#include <hdf5.h>
#include <hwloc.h>
#include <mpi.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <simdjson.h>
#include <spdlog/version.h>
#include <ucp/api/ucp.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include <boost/version.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "base/bounded_call.h"
#include "comm/nccl.h"
#include "device/cublaslt.h"
#include "device/cuda.h"
#include "kernels/select.h"
#include "launch/build_commit.h"
#include "launch/motion.h"

namespace trireme {

namespace {

constexpr std::chrono::seconds kDriverAnswers{10};  // a GPU that nobody has open may take seconds to be set up

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string version(text, static_cast<size_t>(length));
  return version.substr(0, version.find(','));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string hwloc_version() {
  unsigned v = hwloc_get_api_version();
  return fmt::format("{}.{}.{}", v >> 16, (v >> 8) & 255, v & 255);
}

// "2.28.9"; or why there is none.
std::string nccl_version(const Nccl& nccl, const std::string& choice) {
  if (choice == "off") return "off";
  return nccl.missing().empty() ? nccl.version() : "none: " + nccl.missing();
}

// How many this process may use, or why none.
std::string gpus_by_cuda() {
  const auto probe = std::make_shared<CudaProbe>();  // a driver that hangs keeps it
  if (!came_back(kDriverAnswers, [probe] { *probe = probe_cuda(); }))
    return fmt::format("none: the driver has not answered for {} s", kDriverAnswers.count());
  return probe->missing.empty() ? fmt::format("{}", probe->gpus) : "none: " + probe->missing;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> versions(const Options& options) {
  const Nccl nccl(nccl_files(options));
  return {{"trireme", TRIREME_VERSION},
          {"commit", kBuildCommit},
          {"compiler", __VERSION__},
          {"kernel levels", fmt::format("{}", fmt::join(available_levels(), " "))},
          {"CUDA", cuda_build()},
          {"GPUs by CUDA", gpus_by_cuda()},
          {"cuBLASLt", CublasLt::search_installed(options.library_prefixes).text()},
          {"NCCL", nccl_version(nccl, options.nccl)},
          {"NCCL's file", nccl.path().empty() ? "none" : nccl.path()},
          {"MPI", mpi_version()},
          {"UCX", ucp_get_version_string()},
          {"HDF5", hdf5_version()},
          {"hwloc", hwloc_version()},
          {"boost", fmt::format("{}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100)},
          {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
          {"spdlog", fmt::format("{}.{}.{}", SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
          {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                        NLOHMANN_JSON_VERSION_PATCH)},
          {"simdjson", fmt::format("{}.{}.{}", int{simdjson::SIMDJSON_VERSION_MAJOR},
                                   int{simdjson::SIMDJSON_VERSION_MINOR}, int{simdjson::SIMDJSON_VERSION_REVISION})},
          {"pugixml", fmt::format("{}.{}", PUGIXML_VERSION / 1000, PUGIXML_VERSION % 1000 / 10)},
          {"PCRE2", fmt::format("{}.{}", PCRE2_MAJOR, PCRE2_MINOR)},
          {"utf8proc", utf8proc_version()},
          {"zstd", ZSTD_versionString()},
          {"zlib", zlibVersion()},
          {"xxhash", fmt::format("{}.{}.{}", XXH_versionNumber() / 10000, XXH_versionNumber() / 100 % 100,
                                 XXH_versionNumber() % 100)}};
}

std::string version_text(bool verbose, const Options& options) {
  if (!verbose) return fmt::format("trireme {}\n", TRIREME_VERSION);
  std::string text;
  for (auto& [name, version] : versions(options)) text += fmt::format("{:<14} {}\n", name, version);
  return text;
}

}  // namespace trireme

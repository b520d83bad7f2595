#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/nvidia_library.h"

namespace trireme {

// cuBLASLt, opened at run time, so that the program neither links nor brings it. What we use of its interface, which a
// machine without the toolkit does not declare: names, numbers and layouts are those of cublasLt.h, the same from 12.0
// to 13 (tests/device compares them where the header is). Owns the library.
struct CublasLt {
  using Handle = struct CublasLtContext*;
  using Operation = struct CublasLtMatmulDesc*;
  using Layout = struct CublasLtMatrixLayout*;
  using Preference = struct CublasLtMatmulPreference*;
  struct Algorithm {
    uint64_t data[8];
  };
  struct Heuristic {
    Algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
  };
  static constexpr int kSuccess = 0, kAllocationFailed = 3;  // cublasStatus_t
  static constexpr int kBf16 = 14, kF32 = 0;                 // cudaDataType
  static constexpr int kComputeF32 = 68, kTransposed = 1;    // cublasComputeType_t, cublasOperation_t
  static constexpr int kTransposeA = 3;                      // cublasLtMatmulDescAttributes_t: int32
  // cublasLtMatmulPreferenceAttributes_t: uint64, then four uint32.
  static constexpr int kMostWorkspace = 1, kAlignmentA = 5, kAlignmentB = 6, kAlignmentC = 7, kAlignmentD = 8;
  static constexpr size_t kOldest = 120000;  // as its version has it: 12.0, of the drivers that this build's CUDA wants

  // What is missing, in one line, is `missing`.
  struct Search;
  static Search search(std::span<const std::string> candidates);
  // Where people have it. prefixes: Options::library_prefixes.
  static Search search_installed(std::span<const std::string> prefixes);

  NvidiaLibrary library;
  std::string version, path;  // "13.1.0"; of its file

  size_t (*get_version)() = nullptr;
  const char* (*status_name)(int status) = nullptr;
  int (*create)(Handle* handle) = nullptr;
  int (*destroy)(Handle handle) = nullptr;
  int (*operation_create)(Operation* operation, int compute_type, int scale_type) = nullptr;
  int (*operation_destroy)(Operation operation) = nullptr;
  int (*operation_set)(Operation operation, int attribute, const void* value, size_t bytes) = nullptr;
  int (*layout_create)(Layout* layout, int type, uint64_t rows, uint64_t columns, int64_t leading) = nullptr;
  int (*layout_destroy)(Layout layout) = nullptr;
  int (*preference_create)(Preference* preference) = nullptr;
  int (*preference_destroy)(Preference preference) = nullptr;
  int (*preference_set)(Preference preference, int attribute, const void* value, size_t bytes) = nullptr;
  int (*heuristic)(Handle handle, Operation operation, Layout a, Layout b, Layout c, Layout d, Preference preference,
                   int wanted, Heuristic* results, int* found) = nullptr;
  int (*matmul)(Handle handle, Operation operation, const void* alpha, const void* a, Layout a_layout, const void* b,
                Layout b_layout, const void* beta, const void* c, Layout c_layout, void* d, Layout d_layout,
                const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream) = nullptr;
};

struct CublasLt::Search {
  std::optional<CublasLt> found;
  std::string missing;

  std::string text() const { return found ? found->version + " (" + found->path + ")" : "none: " + missing; }
};

}  // namespace trireme

// A cuBLASLt for the emulated GPU (testkit/cuda), under the name that dlopen is asked for. It multiplies in plain FP32,
// in an order of its own, when the stream runs; and it is stricter than the real one, which may read past what it was
// told or choose a slower way: whatever is not as it must be is refused, and said on stderr.
// TRIREME_TEST_CUBLASLT: "" serves, "old" is 11.6.1, "dead" does not start, "none" finds no algorithm,
// "full" has no memory for a matrix's layout.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "testkit/cuda/emulated_gpu.h"

namespace {

using trireme::BF16;
using trireme::testkit::gpu_reaches;

enum Status {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocationFailed = 3,
  kInvalid = 7,
  kInternal = 14,
  kNotSupported = 15
};
constexpr int kBf16 = 14, kF32 = 0, kComputeF32 = 68;
constexpr uint32_t kBegan = 0x4c74, kScribble = 0x7fc12345;
constexpr uint64_t kMostTerms = uint64_t{1} << 35;  // more than a test can wait for: a benchmark's, of no result
constexpr uint64_t kWorkspace = uint64_t{1} << 20;

struct Context {
  uint32_t began = kBegan;
};
struct Operation {
  int32_t transposed_a = 0, transposed_b = 0;
};
struct Layout {
  int type;
  uint64_t rows, columns;  // of the library: a column is contiguous
  int64_t leading;
  bool operator==(const Layout&) const = default;
  uint64_t bytes() const {
    const uint64_t values = (columns - 1) * static_cast<uint64_t>(leading) + rows;
    return values * (type == kBf16 ? 2 : 4);
  }
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};
// What the algorithm was chosen for: it may be asked for nothing else.
struct Algorithm {
  uint64_t m, n, k;
  uint32_t leading[3];
  uint16_t alignment[3];
  uint16_t transposed_a;
  uint64_t workspace, spare;
};
static_assert(sizeof(Algorithm) == 64);
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

bool acts(const char* word) {
  const char* text = std::getenv("TRIREME_TEST_CUBLASLT");
  return text && std::strcmp(text, word) == 0;
}

int refuse(const char* what, Status status = kInvalid) {
  std::fprintf(stderr, "fake cuBLASLt: %s\n", what);
  return status;
}

bool aligned(const void* data, int64_t leading, int type, uint32_t alignment) {
  const auto bits = reinterpret_cast<uintptr_t>(data) | static_cast<uintptr_t>(leading) * (type == kBf16 ? 2 : 4);
  return bits % alignment == 0;
}

// Four chains over every fourth column, the last first.
float product(const BF16* w, const BF16* x, uint64_t k) {
  float sums[4] = {};
  for (uint64_t i = k; i-- > 0;) sums[i % 4] += trireme::to_float(w[i]) * trireme::to_float(x[i]);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

const char* fault_of(const Operation& operation, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (operation.transposed_a != 1 || operation.transposed_b != 0) return "A is to be transposed, B is not";
  if (a.type != kBf16 || b.type != kBf16 || c.type != kF32 || d.type != kF32) return "BF16 by BF16 gives FP32";
  if (!(c == d)) return "C and D have one layout";
  if (a.rows != b.rows || a.columns != d.rows || b.columns != d.columns) return "the matrices' sizes do not agree";
  return nullptr;
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return acts("old") ? 110601 : 130009; }
const char* cublasLtGetStatusName(int status) {
  return status == kNotInitialized     ? "CUBLAS_STATUS_NOT_INITIALIZED"
         : status == kAllocationFailed ? "CUBLAS_STATUS_ALLOC_FAILED"
         : status == kInvalid          ? "CUBLAS_STATUS_INVALID_VALUE"
         : status == kInternal         ? "CUBLAS_STATUS_INTERNAL_ERROR"
         : status == kNotSupported     ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                       : "CUBLAS_STATUS_SUCCESS";
}

int cublasLtCreate(Context** context) {
  if (acts("dead")) return kNotInitialized;
  *context = new Context;
  return kSuccess;
}
int cublasLtDestroy(Context* context) {
  context->began = 0;
  delete context;
  return kSuccess;
}

int cublasLtMatmulDescCreate(Operation** operation, int compute, int scale) {
  if (compute != kComputeF32 || scale != kF32) return refuse("FP32 sums and scales");
  *operation = new Operation;
  return kSuccess;
}
int cublasLtMatmulDescDestroy(Operation* operation) {
  delete operation;
  return kSuccess;
}
int cublasLtMatmulDescSetAttribute(Operation* operation, int attribute, const void* value, size_t bytes) {
  if ((attribute != 3 && attribute != 4) || bytes != sizeof(int32_t)) return refuse("an operation's attribute");
  std::memcpy(attribute == 3 ? &operation->transposed_a : &operation->transposed_b, value, bytes);
  return kSuccess;
}

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (acts("full")) return kAllocationFailed;
  if (rows == 0 || columns == 0 || leading < static_cast<int64_t>(rows)) return refuse("a layout's leading dimension");
  *layout = new Layout{type, rows, columns, leading};
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return kSuccess;
}

int cublasLtMatmulPreferenceCreate(Preference** preference) {
  *preference = new Preference;
  return kSuccess;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t bytes) {
  if (attribute == 1 && bytes == sizeof(uint64_t)) {
    std::memcpy(&preference->workspace, value, bytes);
  } else if (attribute >= 5 && attribute <= 8 && bytes == sizeof(uint32_t)) {
    std::memcpy(&preference->alignment[attribute - 5], value, bytes);
  } else {
    return refuse("a preference's attribute");
  }
  return kSuccess;
}

int cublasLtMatmulAlgoGetHeuristic(Context* context, Operation* operation, Layout* a, Layout* b, Layout* c, Layout* d,
                                   Preference* preference, int wanted, Heuristic* results, int* found) {
  if (context->began != kBegan) return refuse("a handle that is none", kNotInitialized);
  // As 13.3 answers: github.com/mudler/vllm.cpp issue 1732.
  if (trireme::testkit::is_recording()) return refuse("a heuristic while a graph is recorded", kInternal);
  if (const char* fault = fault_of(*operation, *a, *b, *c, *d)) return refuse(fault);
  if (wanted < 1) return refuse("no result is wanted");
  *found = acts("none") ? 0 : 1;
  if (*found == 0) return kSuccess;
  Algorithm algorithm{d->rows, d->columns, a->rows, {}, {}, 1, std::min(kWorkspace, preference->workspace), {}};
  const Layout* layouts[] = {a, b, d};
  const uint32_t alignment[] = {preference->alignment[0], preference->alignment[1],
                                std::min(preference->alignment[2], preference->alignment[3])};
  for (int i = 0; i < 3; i++) {
    algorithm.leading[i] = static_cast<uint32_t>(layouts[i]->leading);
    algorithm.alignment[i] = static_cast<uint16_t>(alignment[i]);
  }
  results[0] = {algorithm, algorithm.workspace, kSuccess, 1, {}};
  return kSuccess;
}

int cublasLtMatmul(Context* context, Operation* operation, const void* alpha, const void* a, Layout* a_layout,
                   const void* b, Layout* b_layout, const void* beta, const void* c, Layout* c_layout, void* d,
                   Layout* d_layout, const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                   void* stream) {
  if (context->began != kBegan) return refuse("a handle that is none", kNotInitialized);
  if (const char* fault = fault_of(*operation, *a_layout, *b_layout, *c_layout, *d_layout)) return refuse(fault);
  if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return refuse("alpha 1, beta 0");
  if (c != d) return refuse("C is D");
  const Layout A = *a_layout, B = *b_layout, D = *d_layout;
  const Algorithm& chosen = *algorithm;
  if (chosen.m != D.rows || chosen.n != D.columns || chosen.k != A.rows ||
      chosen.leading[0] != static_cast<uint32_t>(A.leading) || chosen.leading[1] != static_cast<uint32_t>(B.leading) ||
      chosen.leading[2] != static_cast<uint32_t>(D.leading))
    return refuse("the algorithm was chosen for another shape", kNotSupported);
  if (!aligned(a, A.leading, A.type, chosen.alignment[0]) || !aligned(b, B.leading, B.type, chosen.alignment[1]) ||
      !aligned(d, D.leading, D.type, chosen.alignment[2]))
    return refuse("memory is less aligned than was said");
  if (workspace_bytes < chosen.workspace || !aligned(workspace, 0, kF32, 256) ||
      !gpu_reaches(workspace, workspace_bytes))
    return refuse("the workspace");
  if (!gpu_reaches(a, A.bytes()) || !gpu_reaches(b, B.bytes()) || !gpu_reaches(d, D.bytes()))
    return refuse("memory that the GPU does not reach");
  if (!stream) return refuse("no stream");
  trireme::testkit::enqueue(stream, [=, scratch = chosen.workspace / sizeof(uint32_t)] {
    std::fill_n(static_cast<uint32_t*>(workspace), scratch, kScribble);
    if (D.rows * D.columns * A.rows > kMostTerms) return;
    for (uint64_t column = 0; column < D.columns; column++)
      for (uint64_t row = 0; row < D.rows; row++)
        static_cast<float*>(d)[column * static_cast<uint64_t>(D.leading) + row] =
            product(static_cast<const BF16*>(a) + row * static_cast<uint64_t>(A.leading),
                    static_cast<const BF16*>(b) + column * static_cast<uint64_t>(B.leading), A.rows);
  });
  return kSuccess;
}

}  // extern "C"

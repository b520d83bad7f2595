// What src/device/cublaslt.h says of cuBLASLt, beside the toolkit's header. Compiled where that is; nothing runs.
#include <cublasLt.h>

#include "device/cublaslt.h"
#include "tests/device/same_call.h"

using trireme::CublasLt;
using trireme::testing::SameCall;

static_assert(sizeof(CublasLt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(CublasLt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(CublasLt::Heuristic, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(CublasLt::Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(CublasLt::kSuccess == CUBLAS_STATUS_SUCCESS && CublasLt::kBf16 == CUDA_R_16BF &&
              CublasLt::kF32 == CUDA_R_32F && CublasLt::kComputeF32 == CUBLAS_COMPUTE_32F &&
              CublasLt::kTransposed == CUBLAS_OP_T && CublasLt::kTransposeA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(CublasLt::kMostWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              CublasLt::kAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              CublasLt::kAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              CublasLt::kAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              CublasLt::kAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

static_assert(SameCall<decltype(CublasLt::get_version), decltype(cublasLtGetVersion)>::value);
static_assert(SameCall<decltype(CublasLt::create), decltype(cublasLtCreate)>::value);
static_assert(SameCall<decltype(CublasLt::destroy), decltype(cublasLtDestroy)>::value);
static_assert(SameCall<decltype(CublasLt::operation_create), decltype(cublasLtMatmulDescCreate)>::value);
static_assert(SameCall<decltype(CublasLt::operation_set), decltype(cublasLtMatmulDescSetAttribute)>::value);
static_assert(SameCall<decltype(CublasLt::layout_create), decltype(cublasLtMatrixLayoutCreate)>::value);
static_assert(SameCall<decltype(CublasLt::preference_create), decltype(cublasLtMatmulPreferenceCreate)>::value);
static_assert(SameCall<decltype(CublasLt::preference_set), decltype(cublasLtMatmulPreferenceSetAttribute)>::value);
static_assert(SameCall<decltype(CublasLt::heuristic), decltype(cublasLtMatmulAlgoGetHeuristic)>::value);
static_assert(SameCall<decltype(CublasLt::matmul), decltype(cublasLtMatmul)>::value);

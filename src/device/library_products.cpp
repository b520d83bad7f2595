#include "device/library_products.h"

#include <cuda_runtime_api.h>

#include <exception>
#include <utility>

#include "base/error.h"
#include "kernels/packed_layout.h"

namespace trireme {

namespace {

constexpr uint32_t kInputAlignment = 16;  // bytes: of rows of weights and of encoded rows, and of where they begin

uint32_t alignment_of(const float* y, int64_t y_stride) {
  const auto bits = reinterpret_cast<uintptr_t>(y) | static_cast<uintptr_t>(y_stride) * sizeof(float);
  return bits % kInputAlignment == 0 ? kInputAlignment : sizeof(float);
}

}  // namespace

LibraryProducts::LibraryProducts(CublasLt library, Buffer workspace, const Kernels& kernels)
    : library_(std::move(library)),
      workspace_(std::move(workspace)),
      level_(fmt::format("{}+cublaslt-{}", kernels.level, library_.version)),
      kernels_(kernels),
      own_matmul_(kernels.matmul) {
  kernels_.level = level_;
  kernels_.matmul = matmul;
  if (const int status = library_.create(&handle_); status != CublasLt::kSuccess) {
    missing_ = fmt::format("{} does not start: {}", library_.path, library_.status_name(status));
    return;
  }
  check(library_.operation_create(&operation_, CublasLt::kComputeF32, CublasLt::kF32), "a product");
  const int32_t transposed = CublasLt::kTransposed;
  check(library_.operation_set(operation_, CublasLt::kTransposeA, &transposed, sizeof transposed), "a product");
  check(library_.preference_create(&preference_), "a choice");
  const uint64_t most = kWorkspaceBytes;
  check(library_.preference_set(preference_, CublasLt::kMostWorkspace, &most, sizeof most), "a choice");
  for (int attribute : {CublasLt::kAlignmentA, CublasLt::kAlignmentB})
    check(library_.preference_set(preference_, attribute, &kInputAlignment, sizeof kInputAlignment), "a choice");
}

// The library waits for the GPU, which may be why the job is failing.
LibraryProducts::~LibraryProducts() {
  if (std::uncaught_exceptions() > 0) return;
  for (auto& [shape, plan] : plans_)
    for (CublasLt::Layout layout : {plan.weights, plan.rows, plan.sums})
      if (layout) library_.layout_destroy(layout);
  if (preference_) library_.preference_destroy(preference_);
  if (operation_) library_.operation_destroy(operation_);
  if (handle_) library_.destroy(handle_);
}

void LibraryProducts::check(int status, const char* what) const {
  if (status == CublasLt::kSuccess) return;
  fail(status == CublasLt::kAllocationFailed ? ExitCode::out_of_memory : ExitCode::internal,
       "cuBLASLt {}, asked for {}: {}; --numerics standard does without it", library_.version, what,
       library_.status_name(status));
}

// The library's matrices are columns after each other: our rows of weights [n, k] are its [k, n], to be transposed, our
// rows its [k, rows], and the sums its [n, rows].
const LibraryProducts::Plan& LibraryProducts::plan(const Shape& shape) {
  const auto [place, first] = plans_.try_emplace(shape);
  Plan& plan = place->second;
  if (!first) return plan;
  auto layout = [this](CublasLt::Layout& made, int type, int64_t down, int64_t across, int64_t leading) {
    check(library_.layout_create(&made, type, static_cast<uint64_t>(down), static_cast<uint64_t>(across), leading),
          "a layout");
  };
  layout(plan.weights, CublasLt::kBf16, shape.columns, shape.outputs, bf16_row(shape.columns));
  layout(plan.rows, CublasLt::kBf16, shape.columns, shape.rows, shape.x_leading);
  layout(plan.sums, CublasLt::kF32, shape.outputs, shape.rows, shape.y_leading);
  plan.algorithm = best(shape, plan);
  return plan;
}

CublasLt::Algorithm LibraryProducts::best(const Shape& shape, const Plan& plan) {
  for (int attribute : {CublasLt::kAlignmentC, CublasLt::kAlignmentD})
    check(library_.preference_set(preference_, attribute, &shape.y_alignment, sizeof shape.y_alignment), "a choice");
  CublasLt::Heuristic result{};
  int found = 0;
  check(library_.heuristic(handle_, operation_, plan.weights, plan.rows, plan.sums, plan.sums, preference_, 1, &result,
                           &found),
        "an algorithm");
  if (found == 0 || result.state != CublasLt::kSuccess)
    fail(ExitCode::internal,
         "cuBLASLt {} has no algorithm for {} rows of {} columns and {} outputs; --numerics standard does without it",
         library_.version, shape.rows, shape.columns, shape.outputs);
  return result.algorithm;
}

void LibraryProducts::matmul(const Launch& launch, const MatMul& a) {
  auto& products = *static_cast<LibraryProducts*>(launch.products);
  if (a.w.form != PackedForm::bf16_rows) return products.own_matmul_(launch, a);
  if (a.x.rows == 0 || a.w.n == 0 || a.w.k == 0) return;
  products.multiply(launch.stream, a);
  if (launch.enqueued) *launch.enqueued = true;
  if (!a.bias.empty()) products.kernels_.add_bias(launch, {{a.y, a.x.rows, a.w.n, a.y_stride}, a.bias});
}

// One sum of all columns. Where the tree has several roots for a rank (a tp that is no power of two), the others are 0:
// first of all, for behind a product kernels may begin early (Launch::early).
void LibraryProducts::multiply(void* stream, const MatMul& a) {
  const auto others = static_cast<size_t>(a.contraction->program.roots - 1);
  if (others > 0)
    cudaMemsetAsync(a.y + a.root_stride, 0, others * static_cast<size_t>(a.root_stride) * sizeof(float),
                    static_cast<cudaStream_t>(stream));
  const Plan& how =
      plan({a.w.n, a.w.k, a.x.rows, a.x.row_bytes / int64_t{sizeof(BF16)}, a.y_stride, alignment_of(a.y, a.y_stride)});
  constexpr float kOne = 1, kZero = 0;
  check(library_.matmul(handle_, operation_, &kOne, a.w.data, how.weights, a.x.data, how.rows, &kZero, a.y, how.sums,
                        a.y, how.sums, &how.algorithm, workspace_.data(), workspace_.bytes(), stream),
        "a product");
}

}  // namespace trireme

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "base/buffer.h"
#include "device/cublaslt.h"
#include "kernels/kernels.h"

namespace trireme {

// Products of BF16 rows by cuBLASLt, the order of their sums its own: what `fast` puts into the table of kernels for
// PackedForm::bf16_rows. All else goes to the table's own kernel. How a shape is multiplied is asked of the library the
// first time that it comes, which no recording of a graph may be (CUDA 13.3 refuses it); CudaDevice::repeat() records
// the second time. Owns the library and its workspace.
class LibraryProducts {
 public:
  // NVIDIA's advice for sm_90 (cuBLAS documentation, cublasSetWorkspace); an eighth would do on older ones.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // workspace: kWorkspaceBytes of the GPU that is current, for one stream. kernels: the GPU's table.
  LibraryProducts(CublasLt library, Buffer workspace, const Kernels& kernels);
  ~LibraryProducts();
  LibraryProducts(const LibraryProducts&) = delete;
  LibraryProducts& operator=(const LibraryProducts&) = delete;

  // "": it has started; else why not, in one line.
  const std::string& missing() const { return missing_; }
  // The given kernels, but for products; their level names the library. Launch::products must be this.
  const Kernels& kernels() const { return kernels_; }

 private:
  // Everything by which a shape's best algorithm, or its right to an address, can differ.
  struct Shape {
    int64_t outputs, columns, rows, x_leading, y_leading;
    uint32_t y_alignment;
    auto operator<=>(const Shape&) const = default;
  };
  struct Plan {
    CublasLt::Layout weights = nullptr, rows = nullptr, sums = nullptr;
    CublasLt::Algorithm algorithm{};
  };

  static void matmul(const Launch& launch, const MatMul& a);
  void multiply(void* stream, const MatMul& a);
  const Plan& plan(const Shape& shape);
  CublasLt::Algorithm best(const Shape& shape, const Plan& plan);
  void check(int status, const char* what) const;

  CublasLt library_;
  Buffer workspace_;
  std::string missing_, level_;
  Kernels kernels_;
  void (*own_matmul_)(const Launch&, const MatMul&);
  CublasLt::Handle handle_ = nullptr;
  CublasLt::Operation operation_ = nullptr;
  CublasLt::Preference preference_ = nullptr;
  std::map<Shape, Plan> plans_;
};

}  // namespace trireme

#pragma once

#include <cstdint>
#include <span>

#include "base/host_device.h"

namespace trireme {

// Rows of a matrix that something else owns. Indices in std::mdspan's order, so that it can replace this one day.
template <typename T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // elements from one row to the next, >= columns

  MatrixView() = default;
  MatrixView(T* data_, int64_t rows_, int64_t columns_) : MatrixView(data_, rows_, columns_, columns_) {}
  MatrixView(T* data_, int64_t rows_, int64_t columns_, int64_t stride_)
      : data(data_), rows(rows_), columns(columns_), stride(stride_) {}
  template <typename U>
  requires(std::is_same_v<const U, T>) MatrixView(const MatrixView<U>& other)
      : MatrixView(other.data, other.rows, other.columns, other.stride) {}

  TRIREME_HD T* row(int64_t i) const { return data + i * stride; }
  MatrixView rows_from(int64_t begin, int64_t count) const { return {row(begin), count, columns, stride}; }
};

}  // namespace trireme

#pragma once

#include <vector>

#include "checkpoint/weight_source.h"
#include "device/device.h"
#include "kernels/packed_matrix.h"

namespace trireme {

// A matrix of a rank's weights and what it is packed from. A vector is a matrix of one column in f32, whose packed form
// is the vector itself.
struct WeightMatrix {
  struct Source {
    const TensorInfo* tensor = nullptr;
    UnitRange units;        // not empty
    int64_t first_row = 0;  // of the matrix
  };
  PackedView packed;            // its memory is the device's, zeroed
  std::vector<Source> sources;  // rows after rows, or one tensor whose units are columns
};

// Reads the sources, each byte once and in the order of the file, and packs them into the matrices. On a device that
// works in host memory they are packed where they belong. Else they pass through page-locked memory of kWeightStaging
// bytes: half of it is filled with pieces, runs of units of a matrix, while the other is copied. It is more where a
// unit as packed takes more than a half, for units have checksums: none is read in parts. Where the source has none
// (WeightSource::gives_rows), large units come in strips of rows, as many at once as the source has threads.
constexpr size_t kWeightStaging = size_t{64} << 20;
void load_weights(const WeightSource& source, std::vector<WeightMatrix> matrices, Device& device);

}  // namespace trireme

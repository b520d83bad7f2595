#pragma once

#include <hdf5.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/dtype.h"

namespace trireme {

// An HDF5 object: file, group, dataset, type, space or property list. Owns one reference; moves only.
class H5Object {
 public:
  H5Object() = default;
  explicit H5Object(hid_t id) : id_(id) {}
  ~H5Object() { reset(); }
  H5Object(H5Object&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  H5Object& operator=(H5Object&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  hid_t id() const { return id_; }
  // Returns false when the last write of a file or dataset failed on its way out.
  bool reset() {
    hid_t id = std::exchange(id_, H5I_INVALID_HID);
    return id == H5I_INVALID_HID || H5Idec_ref(id) >= 0;
  }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// Throws Error(io_error) with HDF5's own words and `path` when result < 0.
void h5_check(herr_t result, const std::string& path, std::string_view what);
H5Object h5_own(hid_t id, const std::string& path, std::string_view what);

// Keeps HDF5 from printing to stderr while it lives: we word its errors.
class H5Quiet {
 public:
  H5Quiet();
  ~H5Quiet();
  H5Quiet(const H5Quiet&) = delete;
  H5Quiet& operator=(const H5Quiet&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// The type of stored elements: little-endian IEEE floats of 2 and 4 bytes, bf16 as 16-bit words, codes as bytes.
H5Object h5_type(DType type);
void h5_attribute(hid_t object, const char* name, int64_t value, const std::string& path);
void h5_attribute(hid_t object, const char* name, std::string_view text, const std::string& path);

}  // namespace trireme

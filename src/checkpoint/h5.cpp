#include "checkpoint/h5.h"

#include "base/error.h"

namespace trireme {

namespace {

// The innermost message of HDF5's error stack: where it first went wrong.
std::string h5_reason() {
  std::string reason;
  auto visit = [](unsigned, const H5E_error2_t* entry, void* into) -> herr_t {
    *static_cast<std::string*>(into) =
        fmt::format("{}: {}", entry->func_name ? entry->func_name : "?", entry->desc ? entry->desc : "");
    return 1;  // the first is the innermost
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &reason);
  return reason.empty() ? "no reason given" : reason;
}

}  // namespace

void h5_check(herr_t result, const std::string& path, std::string_view what) {
  if (result >= 0) return;
  int saved = errno;
  std::string reason = h5_reason();
  errno = saved;
  fail(ExitCode::io_error, "{} of {} failed in HDF5: {} (errno: {}); check space and permissions, then run it again",
       what, path, reason, errno_text());
}

H5Object h5_own(hid_t id, const std::string& path, std::string_view what) {
  h5_check(id < 0 ? -1 : 0, path, what);
  return H5Object(id);
}

H5Quiet::H5Quiet() {
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}
H5Quiet::~H5Quiet() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

H5Object h5_type(DType type) {
  switch (type) {
    case DType::f32:
      return H5Object(H5Tcopy(H5T_IEEE_F32LE));
    case DType::bf16:
      return H5Object(H5Tcopy(H5T_STD_U16LE));
    case DType::u8:
      return H5Object(H5Tcopy(H5T_STD_U8LE));
    case DType::f16:
      break;
  }
  H5Object half(H5Tcopy(H5T_IEEE_F32LE));  // sign bit 15, exponent from bit 10 (5 bits, bias 15), mantissa 10 bits
  bool ok = H5Tset_fields(half.id(), 15, 10, 5, 0, 10) >= 0 && H5Tset_size(half.id(), 2) >= 0 &&
            H5Tset_ebias(half.id(), 15) >= 0;
  must(ok, "HDF5 knows half-precision floats");
  return half;
}

void h5_attribute(hid_t object, const char* name, int64_t value, const std::string& path) {
  H5Object space = h5_own(H5Screate(H5S_SCALAR), path, name);
  H5Object attribute =
      h5_own(H5Acreate2(object, name, H5T_STD_I64LE, space.id(), H5P_DEFAULT, H5P_DEFAULT), path, name);
  h5_check(H5Awrite(attribute.id(), H5T_STD_I64LE, &value), path, name);
}

void h5_attribute(hid_t object, const char* name, std::string_view text, const std::string& path) {
  H5Object space = h5_own(H5Screate(H5S_SCALAR), path, name);
  H5Object type(H5Tcopy(H5T_C_S1));
  h5_check(H5Tset_size(type.id(), text.size()), path, name);
  h5_check(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), path, name);
  H5Object attribute = h5_own(H5Acreate2(object, name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), path, name);
  h5_check(H5Awrite(attribute.id(), type.id(), text.data()), path, name);
}

}  // namespace trireme

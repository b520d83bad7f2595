#pragma once

#include <string>

#include "base/nvidia_library.h"

namespace trireme {

// NVIDIA's management library, open as long as this lives. What we use of its interface no package of Debian declares:
// names, numbers and layouts are those of nvml.h (API 12, the same since 10). Any call may take long, or hang with its
// GPU.
class Nvml {
 public:
  using Device = struct NvmlDevice*;
  struct Memory {
    unsigned long long total, free, used;  // bytes
  };
  static constexpr int kSuccess = 0;

  explicit Nvml(const std::string& library);  // a name for dlopen
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  const std::string& missing() const { return missing_; }  // "": it has started; else why it has not, in one line

  // A function that the library lacks (an old driver) answers like one that fails.
  template <typename... Args>
  int call(const char* name, Args... args) const {
    constexpr int kNoFunction = 13;  // NVML_ERROR_FUNCTION_NOT_FOUND
    int (*function)(Args...) = nullptr;
    library_.take(name, function);
    return function ? function(args...) : kNoFunction;
  }

  template <typename... Args>
  std::string text(const char* name, Args... args) const {
    constexpr int kTextBytes = 96;  // names, versions and UUIDs are shorter
    char value[kTextBytes] = "";
    const bool known = call(name, args..., static_cast<char*>(value), unsigned{kTextBytes - 1}) == kSuccess;
    return known ? value : "";
  }

  std::string error_text(int code) const;

 private:
  NvidiaLibrary library_;
  bool started_ = false;
  std::string missing_;
};

}  // namespace trireme

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// One of NVIDIA's libraries: the first of the candidates that is there and serves. Its code stays in memory when this
// ends: it has threads of its own, and what it began on a GPU may outlive this.
class NvidiaLibrary {
 public:
  // names: file names, the newest version first. wheel: the folder of Python's packages that has it beside those of
  // CUDA 13 ("cublas"). prefixes: of CUDA toolkits and Python environments, from the user's environment. In order: the
  // loader's path (LD_LIBRARY_PATH, ldconfig), toolkits, wheels.
  static std::vector<std::string> candidates(std::span<const std::string> names, std::string_view wheel,
                                             std::span<const std::string> prefixes);

  // path: for dlopen. On failure *this is not open(), and error() says why.
  explicit NvidiaLibrary(const std::string& path);
  ~NvidiaLibrary();
  NvidiaLibrary(NvidiaLibrary&& other) noexcept;
  NvidiaLibrary& operator=(NvidiaLibrary&&) = delete;

  bool is_open() const { return handle_ != nullptr; }
  const std::string& error() const { return error_; }
  const std::string& name() const { return name_; }  // as it was asked for
  std::string path_of(const void* function) const;   // the file that has it

  void* find(const char* name) const;  // null: it has no such function
  template <typename Function>
  bool take(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(find(name));
    return function != nullptr;
  }

 private:
  void* handle_ = nullptr;
  std::string name_, error_;
};

}  // namespace trireme

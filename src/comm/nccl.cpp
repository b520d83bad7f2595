#include "comm/nccl.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace trireme {

namespace {

static_assert(sizeof(Nccl::Config) == 24 && offsetof(Nccl::Config, blocking) == 16);

constexpr size_t kMostLog = size_t{16} << 20;  // bytes that are read: the lines of a few connections

// NCCL_VERSION_CODE: 2818 of 2.8.18, 21801 of 2.18.1.
std::string text_of(int code) {
  const int major = code < 10000 ? code / 1000 : code / 10000, rest = code < 10000 ? code % 1000 : code % 10000;
  return fmt::format("{}.{}.{}", major, rest / 100, rest % 100);
}

}  // namespace

Nccl::Nccl(std::span<const std::string> files) {
  for (const std::string& file : files) {
    NvidiaLibrary library(file);
    const bool open = library.is_open();
    const std::string fault = open ? take_functions(library) : "it does not open: " + library.error();
    if (fault.empty()) {
      missing_.clear();
      return;
    }
    // What is wrong with a file says more than that another is not there.
    if (missing_.empty() && (open || files.size() == 1)) missing_ = fault;
  }
  version_.clear(), path_.clear();
  if (missing_.empty()) missing_ = "there is no libnccl.so.2";
}

std::string Nccl::take_functions(const NvidiaLibrary& library) {
  int (*get_version)(int*) = nullptr;
  if (!library.take("ncclGetVersion", get_version)) return fmt::format("{} has no ncclGetVersion", library.name());
  path_ = library.path_of(reinterpret_cast<const void*>(get_version));
  int code = 0;
  if (get_version(&code) != kSuccess) return fmt::format("{} does not tell its version", path_);
  version_ = text_of(code);
  if (code < kOldestVersion)
    return fmt::format("{} is NCCL {}, {} or later is needed", path_, version_, text_of(kOldestVersion));
  const char* lacking = nullptr;
  const auto need = [&](const char* name, auto& function) {
    if (!library.take(name, function)) lacking = name;
  };
  need("ncclGetUniqueId", get_unique_id);
  need("ncclCommInitRankConfig", init_rank);
  need("ncclCommFinalize", finalize);
  need("ncclCommDestroy", destroy);
  need("ncclCommAbort", abort);
  need("ncclCommGetAsyncError", async_error);
  need("ncclGroupStart", group_start);
  need("ncclGroupEnd", group_end);
  need("ncclSend", send);
  need("ncclRecv", receive);
  need("ncclAllReduce", all_reduce);
  need("ncclGetErrorString", error_string_);
  need("ncclGetLastError", last_error_);
  return lacking ? fmt::format("{} (NCCL {}) has no {}", path_, version_, lacking) : "";
}

// The library reads its environment once, and opens the file by its name.
void Nccl::keep_log() {
  if (log_ >= 0) return;
  log_ = memfd_create("NCCL's log", MFD_CLOEXEC);
  if (log_ < 0) return;
  setenv("NCCL_DEBUG", "INFO", 1);
  setenv("NCCL_DEBUG_SUBSYS", "INIT", 1);
  setenv("NCCL_DEBUG_FILE", fmt::format("/proc/self/fd/{}", log_).c_str(), 1);
}

size_t Nccl::log_bytes() const {
  struct stat state {};
  return log_ >= 0 && fstat(log_, &state) == 0 ? static_cast<size_t>(state.st_size) : 0;
}

std::string Nccl::transports_since(size_t begin) const {
  const size_t end = log_bytes();
  if (end <= begin) return "";
  std::string text(std::min(end - begin, kMostLog), '\0');
  const ssize_t got = pread(log_, text.data(), text.size(), static_cast<off_t>(begin));
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return nccl_transports(text);
}

std::string Nccl::error_text(int code, Comm comm) const {
  const char *words = error_string_(code), *last = last_error_(comm);
  return fmt::format("{}{}{}", words ? words : "an unknown error", last && *last ? ": " : "", last ? last : "");
}

// "... NCCL INFO Channel 00/0 : 0[0] -> 1[1] [send] via NET/IB/0/GDRDMA": kind, and plugin or way, of what follows.
std::string nccl_transports(const std::string& log) {
  std::set<std::string> kinds;
  for (size_t begin = 0; begin < log.size();) {
    const size_t end = std::min(log.find('\n', begin), log.size());
    const std::string line = log.substr(begin, end - begin);
    begin = end + 1;
    const size_t via = line.find(" via ");
    if (line.find("Channel ") == line.npos || via == line.npos) continue;
    std::string what = line.substr(via + 5);
    what.resize(std::min(what.find(" comm "), what.size()));
    const bool direct = what.find("GDRDMA") != what.npos;
    const size_t kind = what.find('/');
    if (kind != what.npos) what.resize(std::min(what.find('/', kind + 1), what.size()));
    kinds.insert(direct ? what + "/GDRDMA" : what);
  }
  return fmt::format("{}", fmt::join(kinds, "+"));
}

}  // namespace trireme

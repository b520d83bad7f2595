#include "base/held_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace trireme {

namespace {

// One of the process, as its memory is (decided 2026-11-29: a Buffer has no owner that could pass it a book). Pieces
// are few, and none is made in a step.
struct Book {
  std::mutex mutex;
  std::map<const std::byte*, size_t> host;
  std::atomic<int64_t> shared{0}, pinned{0}, device{0};
};
Book& book() {
  static Book* const book = new Book;  // outlives every Buffer
  return *book;
}

int64_t resident_bytes(const std::byte* data, size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  constexpr size_t kPagesAtOnce = 1 << 18;
  std::vector<unsigned char> pages(kPagesAtOnce);
  size_t resident = 0;
  for (size_t at = 0; at < bytes; at += kPagesAtOnce * page) {
    const size_t length = std::min(bytes - at, kPagesAtOnce * page);
    auto* start = const_cast<std::byte*>(data) + at;
    if (::mincore(start, length, pages.data()) != 0) return static_cast<int64_t>(bytes);
    const auto end = pages.begin() + static_cast<std::ptrdiff_t>((length + page - 1) / page);
    resident += page * static_cast<size_t>(std::count_if(pages.begin(), end, [](unsigned char p) { return p & 1; }));
  }
  return static_cast<int64_t>(std::min(resident, bytes));
}

}  // namespace

HeldMemory held_memory() {
  Book& b = book();
  HeldMemory held{.shared = b.shared, .pinned = b.pinned, .device = b.device};
  const std::lock_guard lock(b.mutex);
  for (const auto& [data, bytes] : b.host) {
    held.host += static_cast<int64_t>(bytes);
    held.host_resident += resident_bytes(data, bytes);
  }
  return held;
}

void hold_host(const std::byte* data, size_t bytes) {
  const std::lock_guard lock(book().mutex);
  book().host.emplace(data, bytes);
}

void drop_host(const std::byte* data) noexcept {
  const std::lock_guard lock(book().mutex);
  book().host.erase(data);
}

void hold_shared(int64_t bytes) noexcept { book().shared += bytes; }
void hold_pinned(int64_t bytes) noexcept { book().pinned += bytes; }
void hold_device(int64_t bytes) noexcept { book().device += bytes; }

int64_t private_resident_bytes() {
  std::ifstream status("/proc/self/status");
  int64_t kib = 0;
  int found = 0;
  for (std::string line; std::getline(status, line);)
    for (const std::string_view name : {"RssAnon:", "RssFile:"}) {
      if (!line.starts_with(name)) continue;
      const char* digits = line.data() + std::min(line.find_first_of("0123456789"), line.size());
      int64_t value = 0;
      if (std::from_chars(digits, line.data() + line.size(), value).ec == std::errc()) kib += value, found++;
    }
  return found == 2 ? kib * 1024 : -1;
}

}  // namespace trireme

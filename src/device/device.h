#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/kernels.h"

namespace trireme {

// Where operations run and in which order: memory and order, no arithmetic. Operations and copies launched one after
// the other see each other's results; synchronize() waits until the host may read them. All that an operation points at
// is memory that it reaches: from allocate(), allocate_pinned() or upload(), or under a pin().
class Device {
 public:
  virtual ~Device() = default;
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Zeroed memory where operations work. The host may look at it only where works_in_host_memory().
  virtual Buffer allocate(size_t bytes, const char* what) = 0;
  // Zeroed memory that operations and the host reach: the small arrays that a step brings and leaves.
  virtual Buffer allocate_pinned(size_t bytes, const char* what) = 0;
  // Finished host memory, to where operations work.
  virtual Buffer upload(Buffer host, const char* what) = 0;
  // Lets operations reach host memory of someone else's, as long as what it gives back is kept.
  [[nodiscard]] virtual Buffer pin(std::span<std::byte> memory, const char* what) = 0;
  virtual bool works_in_host_memory() const = 0;
  // Threads that share an operation (Launch::parts).
  virtual int team() const { return 1; }

  // How another process of this host reaches memory of allocate(), until that is released.
  struct Handle {
    std::byte bytes[64];
    std::array<char, 16> device;  // equal where it is the same device
    auto operator<=>(const Handle&) const = default;
  };
  virtual Handle share(const Buffer& memory) = 0;
  // The memory behind another process's handle. Nothing where these devices cannot reach each other.
  virtual std::optional<Buffer> open(const Handle& handle, size_t bytes) = 0;

  // In order with the operations. Both ends are memory that these reach.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  // Likewise `count` runs of `bytes`, each so many bytes after the one before it.
  virtual void copy_runs(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                         size_t count) = 0;

  // Ranks that wait for each other on their devices, each on one of its own.
  struct Meeting {
    static constexpr size_t kPlaceBytes = 4096;
    std::vector<uint32_t*> places;  // [ranks] kPlaceBytes of each rank's memory of allocate(), which all reach
    int rank = 0;
    std::string name;  // for messages
  };
  static constexpr size_t kMostMeet = 64;  // ranks of a meeting
  // In order with the operations: all that was launched before it, on every rank, is done and seen when what follows
  // begins. The host waits for nobody. `meeting` outlives the device's use of it; every rank calls it equally often.
  virtual void meet(const Meeting& meeting) = 0;
  virtual void synchronize() = 0;

  // Runs `operations`: launches and copies that are the same, pointers and sizes included, whenever the key is, so that
  // a device may remember them and enqueue them all at once. What stands behind the pointers may change.
  virtual void repeat(int64_t key, const std::function<void()>& operations) = 0;

  template <typename Args>
  void launch(void (*op)(const Launch&, const Args&), const Args& args) {
    struct Call {
      void (*op)(const Launch&, const Args&);
      const Args* args;
    } call{op, &args};
    launch_erased(
        [](const void* c, const Launch& l) { static_cast<const Call*>(c)->op(l, *static_cast<const Call*>(c)->args); },
        &call, simple_values(args));
  }

 protected:
  using Thunk = void (*)(const void*, const Launch&);
  virtual void launch_erased(Thunk thunk, const void* call, int64_t simple_values) = 0;
};

}  // namespace trireme

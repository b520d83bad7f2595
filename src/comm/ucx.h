#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace trireme {

// What a message is matched by. The sender numbers its streams (a group's exchanges, a channel); sequence counts
// inside.
struct UcxTag {
  int from_rank = 0;
  uint32_t stream = 0;    // 16 bits
  uint32_t sequence = 0;  // 24 bits, wraps
  uint64_t packed() const {
    return uint64_t{stream & 0xffffu} << 48 | uint64_t{static_cast<uint32_t>(from_rank) & 0xffffffu} << 24 |
           (sequence & 0xffffffu);
  }
};

// Runs of bytes, `stride` apart.
struct UcxRuns {
  std::byte* data = nullptr;
  size_t bytes = 0, stride = 0, count = 1;
  size_t total() const { return bytes * count; }
};

// A message under way. It must be done before its memory is used again or freed. Moves only.
class UcxRequest {
 public:
  UcxRequest();
  ~UcxRequest();
  UcxRequest(UcxRequest&&) noexcept;
  UcxRequest& operator=(UcxRequest&&) noexcept;
  // Throws Error(rank_lost) when the peer is gone, Error(internal) when a message had another size than expected.
  bool done();

 private:
  friend class UcxWorker;
  struct State;
  std::unique_ptr<State> state_;  // made once and used again, so that a warm exchange does not allocate here
};

// The UCX worker of a process and its connections. Belongs to the main thread.
class UcxWorker {
 public:
  UcxWorker();
  ~UcxWorker();  // drops the connections at once: flush() and a barrier come before
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  std::vector<std::byte> address() const;
  void connect(int rank, std::span<const std::byte> address);
  void send(UcxRequest& request, int to_rank, UcxTag tag, UcxRuns runs);
  void receive(UcxRequest& request, int from_rank, UcxTag tag, UcxRuns runs);
  void progress();  // throws Error(rank_lost) when a connection broke
  void flush(UcxRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme

#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "comm/communicator.h"
#include "device/device.h"

namespace trireme {

// Adds over the GPUs of a group in an order of its own: for --numerics fast alone.
class GroupSum {
 public:
  virtual ~GroupSum() = default;
  // data[0, count) = its sum over the group's ranks, in order with the device's operations: the host waits for nobody.
  virtual void add_up(float* data, size_t count) = 0;
};

// The data plane of one tensor-parallel group. Every rank owns a window; an exchange shows pieces of it to the others.
// It moves bytes and never adds them. Two windows are used in turn, so that a rank may fill the next one while a slow
// peer still reads the last; what an exchange showed stays valid until this rank begins the next one.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual size_t window_bytes() const = 0;

  // To be filled for the next exchange. 64-byte aligned.
  virtual std::byte* window() = 0;

  // `count` runs of `bytes`, `stride` bytes apart, from `offset` on; bytes 0: nothing.
  struct Piece {
    size_t offset = 0, bytes = 0, stride = 0, count = 1;
  };
  // Shows to[r] of my window, as operations launched before it left that, to rank r, and waits until from[r] of rank
  // r's window is here and every rank that shares memory with me has come. Collective; to[r] here is from[me] there.
  // [size] each; own entries are ignored. Has the Waiter's deadline.
  void exchange(std::span<const Piece> to, std::span<const Piece> from);
  // Whether an exchange is itself an operation of the device: then it comes back at once, and what it showed is there
  // for operations launched after it.
  virtual bool is_operation() const = 0;
  // Makes the exchanges since the last call an even number, where they are operations: so that the same operations find
  // the same windows. Collective.
  virtual void even_out() = 0;

  // The window of the last exchange: rank r's, at the offsets r used. Own window for r == rank().
  virtual const std::byte* shown(int r) const = 0;

  // Puts the windows where the device's operations reach them: into its own memory, when all members prove by a token
  // that they reach each other's there (the host then may not look into a window), else by pinning them where they are.
  // In memory of devices of which each member has one of its own, exchanges become operations. Collective, before the
  // first exchange; the device outlives the group.
  virtual void place_windows(Device& device) = 0;
  // Pins the windows where they are, for a host that reads them.
  virtual void pin_windows(Device& device) = 0;
  virtual bool on_device() const = 0;  // whether the windows are memory of allocate()

  // What adds beside the exchanges, in memory of allocate(); null: nothing. It outlives the use of the group.
  GroupSum* sum() const { return sum_; }
  void sum_by(GroupSum* sum) { sum_ = sum; }

  virtual const char* transport() const = 0;   // "self", "shm", "ucx", "shm+ucx", "device", "p2p" or "NCCL", for people
  double seconds() const { return seconds_; }  // the host's, in exchanges since the start, waiting included

 private:
  virtual void do_exchange(std::span<const Piece> to, std::span<const Piece> from) = 0;
  double seconds_ = 0;
  GroupSum* sum_ = nullptr;
};

// The sending end of a channel between two ranks of neighbouring pipeline stages. Messages keep their order. Their
// memory is the host's, or the device's that the channel was made for; then a message is sent in order with the
// device's operations, and what is launched after a receive() sees it.
class Sender {
 public:
  virtual ~Sender() = default;
  // Copies the message and returns; waits only while all slots are full.
  virtual void send(std::span<const std::byte> message) = 0;
  virtual const char* transport() const = 0;  // "shm", "ucx", or of a GPU: "shm by the host", ..., "NCCL"
};

// The other end.
class Receiver {
 public:
  virtual ~Receiver() = default;
  // The next message will have this size: a receiver that can takes it in while the device is busy. Once before its
  // receive(), or not at all.
  virtual void expect(size_t) {}
  // Waits for the next message, which must have exactly this size.
  virtual void receive(std::span<std::byte> message) = 0;
};

// Makes the data planes: shared memory between ranks that prove by a handshake that they share it, UCX between others.
// One per process; owns the shared segments and the UCX worker; registers their progress with the waiter.
class Fabric {
 public:
  // Collective over `world`, which must outlive it. pretend_host_ranks > 0: as if only that many consecutive ranks
  // shared memory, so that the network's road can be walked on one machine (tests, comparisons).
  static std::unique_ptr<Fabric> create(Communicator& world, int pretend_host_ranks = 0);
  virtual ~Fabric() = default;

  virtual bool shares_memory(int world_rank) const = 0;  // proved, with this rank
  virtual int domain() const = 0;  // lowest world rank that shares memory with this one: equal where memory is shared

  // Collective over the members (world ranks, equal on all of them, in the group's order).
  virtual std::unique_ptr<Collective> collective(std::span<const int> members, size_t window_bytes) = 0;
  // Each called by both ends, in the same order relative to other calls between the same two ranks.
  virtual std::unique_ptr<Sender> sender(int to_world_rank, size_t slot_bytes, int slots) = 0;
  virtual std::unique_ptr<Receiver> receiver(int from_world_rank, size_t slot_bytes, int slots) = 0;
};

}  // namespace trireme

#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "comm/collective.h"
#include "comm/shared_window.h"
#include "comm/ucx.h"

namespace trireme {

// What a rank keeps for its peers in shared memory: the number of the exchange it has come to, on a cache line of its
// own, then its two windows.
struct SharedGroupMemory {
  static constexpr size_t kFirstWindow = 4096;
  static size_t bytes(size_t window_bytes) { return kFirstWindow + 2 * padded(window_bytes); }
  static size_t padded(size_t window_bytes) { return (window_bytes + 4095) / 4096 * 4096; }
  static std::atomic<uint32_t>& arrived(std::byte* memory) { return *reinterpret_cast<std::atomic<uint32_t>*>(memory); }
};

// A member of the group as this rank sees it. `shared` or `memory` holds its windows, unless `on_device` does.
struct GroupMember {
  int world_rank = 0;
  uint32_t stream = 0;  // of its UCX messages in this group
  SharedWindow shared;  // of a rank that shares memory with me, or mine when anyone does
  Buffer memory;        // mine when nobody does; of a remote rank: a mirror of what it showed
  Buffer on_device;     // its windows where the device has them
  Buffer pin;           // of the windows, where they stay in the host's memory
  bool remote = false;
  UcxRequest receive;
  UcxRequest sends[2];  // by window
};

// The tensor-parallel group: flags and windows in shared memory toward the ranks that share it, where an exchange moves
// no byte; UCX messages from window to mirror toward the others.
class GroupCollective final : public Collective {
 public:
  GroupCollective(int rank, std::vector<GroupMember> members, size_t window_bytes, Waiter& waiter, UcxWorker* ucx);
  ~GroupCollective() override;  // waits for its last messages to leave, unless the job is failing

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  size_t window_bytes() const override { return window_bytes_; }
  std::byte* window() override { return window_of(members_[static_cast<size_t>(rank_)], exchange_ + 1); }
  const std::byte* shown(int r) const override { return window_of(members_[static_cast<size_t>(r)], exchange_); }
  void place_windows(Device& device) override;
  void pin_windows(Device& device) override;
  bool is_operation() const override { return !meeting_.places.empty(); }
  void even_out() override;
  bool on_device() const override { return members_[static_cast<size_t>(rank_)].on_device.data() != nullptr; }
  const char* transport() const override { return transport_; }

 private:
  void do_exchange(std::span<const Piece> to, std::span<const Piece> from) override;
  std::byte* window_of(const GroupMember& member, uint32_t exchange) const;
  bool all_say(bool yes);
  struct Offer;
  void meet_on(const std::vector<Offer>& offers);
  std::vector<Offer> offer_windows(Device& device, size_t bytes, Buffer& mine);
  bool open_windows(Device& device, const std::vector<Offer>& offers, std::vector<Buffer>& windows);
  bool proved(Device& device, const std::vector<Offer>& offers, const std::vector<Buffer>& windows);
  bool arrives(Device& device, const std::vector<Offer>& offers, const std::vector<Buffer>& windows);
  void take_back(Device& device, std::vector<Buffer>& windows);
  void start_messages(std::span<const Piece> to, std::span<const Piece> from);
  void wait_for(GroupMember& member);
  std::string waiting_for(const GroupMember& member, const char* what) const;

  int rank_;
  std::vector<GroupMember> members_;
  size_t window_bytes_;
  Waiter& waiter_;
  UcxWorker* ucx_;
  const char* transport_ = "self";
  Device* device_ = nullptr;  // whose operations fill the windows
  Device::Meeting meeting_;   // where exchanges are its operations
  uint32_t exchange_ = 0;     // number of the last one; windows alternate with it
};

}  // namespace trireme

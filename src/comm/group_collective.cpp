#include "comm/group_collective.h"

#include <chrono>
#include <exception>

#include "base/error.h"

namespace trireme {

void Collective::exchange(std::span<const Piece> to, std::span<const Piece> from) {
  const auto start = std::chrono::steady_clock::now();
  do_exchange(to, from);
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

GroupCollective::GroupCollective(int rank, std::vector<GroupMember> members, size_t window_bytes, Waiter& waiter,
                                 UcxWorker* ucx)
    : rank_(rank), members_(std::move(members)), window_bytes_(window_bytes), waiter_(waiter), ucx_(ucx) {
  bool local = false, remote = false;
  for (int r = 0; r < size(); r++)
    if (r != rank_) (members_[static_cast<size_t>(r)].remote ? remote : local) = true;
  if (local || remote) transport_ = !remote ? "shm" : !local ? "ucx" : "shm+ucx";
}

GroupCollective::~GroupCollective() {
  if (!ucx_ || std::uncaught_exceptions() > 0) return;
  try {
    for (auto& member : members_)
      waiter_.until(
          [&] {
            if (member.sends[0].done() && member.sends[1].done()) return true;
            ucx_->progress();
            return false;
          },
          [&] { return waiting_for(member, "to take the last message"); });
    // A message that was given up may still come: its memory is left to it.
    for (auto& member : members_)
      if (!member.receive.done()) static_cast<void>(new Buffer(std::move(member.memory)));
  } catch (const Error&) {
    // Whoever does not take it any more has failed, and says so itself.
  }
}

std::byte* GroupCollective::window_of(const GroupMember& member, uint32_t exchange) const {
  size_t begin = exchange % 2 * SharedGroupMemory::padded(window_bytes_);
  return member.shared.data() ? member.shared.data() + SharedGroupMemory::kFirstWindow + begin
                              : member.memory.data() + begin;
}

std::span<std::byte> GroupCollective::memory(int r) {
  GroupMember& member = members_[static_cast<size_t>(r)];
  if (!member.shared.data()) return {member.memory.data(), member.memory.bytes()};
  return {member.shared.data(), member.shared.bytes()};
}

// A rank that has come to exchange n has read all that exchange n - 1 showed: so when all have come, the window of
// exchange n - 1 may be filled again. That is why every local rank is waited for, whatever it shows.
void GroupCollective::do_exchange(std::span<const Piece> to, std::span<const Piece> from) {
  exchange_++;
  if (ucx_) start_messages(to, from);
  auto& mine = members_[static_cast<size_t>(rank_)];
  if (mine.shared.data()) SharedGroupMemory::arrived(mine.shared.data()).store(exchange_, std::memory_order_release);
  for (auto& member : members_)
    if (&member != &mine) wait_for(member);
}

void GroupCollective::start_messages(std::span<const Piece> to, std::span<const Piece> from) {
  for (size_t r = 0; r < members_.size(); r++) {
    auto& member = members_[r];
    if (!member.remote) continue;
    if (from[r].bytes > 0)
      ucx_->receive(member.receive, member.world_rank, {member.world_rank, member.stream, exchange_},
                    {window_of(member, exchange_) + from[r].offset, from[r].bytes, from[r].stride, from[r].count});
    if (to[r].bytes == 0) continue;
    auto& mine = members_[static_cast<size_t>(rank_)];
    ucx_->send(member.sends[exchange_ % 2], member.world_rank, {mine.world_rank, mine.stream, exchange_},
               {window_of(mine, exchange_) + to[r].offset, to[r].bytes, to[r].stride, to[r].count});
  }
}

void GroupCollective::wait_for(GroupMember& member) {
  if (!member.remote) {
    auto& arrived = SharedGroupMemory::arrived(member.shared.data());
    waiter_.until([&] { return static_cast<int32_t>(arrived.load(std::memory_order_acquire) - exchange_) >= 0; },
                  [&] { return waiting_for(member, "to come"); });
    return;
  }
  // The sends of the exchange before, too: their window is the next to be filled.
  waiter_.until(
      [&] {
        if (member.receive.done() && member.sends[(exchange_ + 1) % 2].done()) return true;
        ucx_->progress();
        return false;
      },
      [&] { return waiting_for(member, "'s message"); });
}

std::string GroupCollective::waiting_for(const GroupMember& member, const char* what) const {
  return fmt::format("exchange {} of a group of {} ({}): rank {} of it (world rank {}) {}, at world rank {}", exchange_,
                     size(), transport_, &member - members_.data(), member.world_rank, what,
                     members_[static_cast<size_t>(rank_)].world_rank);
}

}  // namespace trireme

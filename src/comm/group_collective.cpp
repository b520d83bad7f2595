#include "comm/group_collective.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <random>
#include <set>

#include "base/error.h"
#include "device/pinned_vector.h"

namespace trireme {

namespace {

// Of what a rank has on its device: the place of its meetings comes before its windows.
constexpr size_t kFirstWindow = Device::Meeting::kPlaceBytes;

uint64_t random_token() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

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
  // The others may still have it open; it goes with the process.
  auto& mine = members_[static_cast<size_t>(rank_)].on_device;
  if (mine.data()) static_cast<void>(new Buffer(std::move(mine)));
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
  if (member.on_device.data()) return member.on_device.data() + kFirstWindow + begin;
  return member.shared.data() ? member.shared.data() + SharedGroupMemory::kFirstWindow + begin
                              : member.memory.data() + begin;
}

// Whether every member says yes.
bool GroupCollective::all_say(bool yes) {
  *window() = static_cast<std::byte>(yes);
  const std::vector<Piece> byte(members_.size(), Piece{0, 1, 0, 1});
  exchange(byte, byte);
  bool all = true;
  for (int r = 0; r < size(); r++) all = all && *shown(r) != std::byte{0};
  return all;
}

// What a rank tells of its windows on the device, through those in the host's memory.
struct GroupCollective::Offer {
  Device::Handle handle;
  uint64_t token;  // at both ends of the windows
};

void GroupCollective::place_windows(Device& device) {
  const bool local = std::none_of(members_.begin(), members_.end(), [](const GroupMember& m) { return m.remote; });
  if (device.works_in_host_memory() || size() == 1 || !local || window_bytes_ < sizeof(Offer))
    return pin_windows(device);
  const size_t bytes = kFirstWindow + 2 * SharedGroupMemory::padded(window_bytes_);
  std::vector<Buffer> windows(members_.size());
  const std::vector<Offer> offers = offer_windows(device, bytes, windows[static_cast<size_t>(rank_)]);
  if (!all_say(open_windows(device, offers, windows))) return take_back(device, windows);
  const char* wrong = nullptr;
  if (!all_say(proved(device, offers, windows)))
    wrong = "shm (what a GPU opened of another's memory was not what that one wrote)";
  else if (!all_say(arrives(device, offers, windows)))
    wrong = "shm (what a GPU wrote to another's memory did not arrive there)";
  if (wrong) {
    take_back(device, windows);
    transport_ = wrong;
    return;
  }
  for (size_t r = 0; r < members_.size(); r++) members_[r].on_device = std::move(windows[r]);
  transport_ = "device";
  device_ = &device;
  meet_on(offers);
}

// My windows, empty where the device has none to share, my token in them; everybody's offers.
std::vector<GroupCollective::Offer> GroupCollective::offer_windows(Device& device, size_t bytes, Buffer& mine) {
  Offer offer{.token = random_token()};
  try {
    mine = device.allocate(bytes, "the windows of a group");
    offer.handle = device.share(mine);
    PinnedVector<uint64_t> token(device, 1, "a token");
    token.push_back(offer.token);
    device.copy(mine.data() + kFirstWindow, token.data(), sizeof offer.token);
    device.copy(mine.data() + bytes - sizeof offer.token, token.data(), sizeof offer.token);
    device.synchronize();
  } catch (const Error& error) {
    if (error.code() == ExitCode::out_of_memory) throw;
    mine = {};
  }
  std::memcpy(window(), &offer, sizeof offer);
  const std::vector<Piece> all(members_.size(), Piece{0, sizeof offer, 0, 1});
  exchange(all, all);
  std::vector<Offer> offers(members_.size(), offer);
  for (int r = 0; r < size(); r++) std::memcpy(&offers[static_cast<size_t>(r)], shown(r), sizeof offer);
  return offers;
}

// Whether I reach all windows.
bool GroupCollective::open_windows(Device& device, const std::vector<Offer>& offers, std::vector<Buffer>& windows) {
  const Buffer& mine = windows[static_cast<size_t>(rank_)];
  if (!mine.data()) return false;
  for (size_t r = 0; r < windows.size(); r++) {
    if (r == static_cast<size_t>(rank_)) continue;
    auto opened = device.open(offers[r].handle, mine.bytes());
    if (!opened) return false;
    windows[r] = std::move(*opened);
  }
  return true;
}

// Whether what I see of all windows is what their owners wrote.
bool GroupCollective::proved(Device& device, const std::vector<Offer>& offers, const std::vector<Buffer>& windows) {
  PinnedVector<uint64_t> seen(device, 2 * windows.size(), "tokens");
  seen.resize(2 * windows.size());
  for (size_t r = 0; r < windows.size(); r++) {
    device.copy(&seen[2 * r], windows[r].data() + kFirstWindow, sizeof(uint64_t));
    device.copy(&seen[2 * r + 1], windows[r].data() + windows[r].bytes() - sizeof(uint64_t), sizeof(uint64_t));
  }
  device.synchronize();
  bool equal = true;
  for (size_t i = 0; i < seen.size(); i++) equal = equal && seen[i] == offers[i / 2].token;
  return equal;
}

// Whether what all ranks write to my window is there: by such words they wait for each other.
bool GroupCollective::arrives(Device& device, const std::vector<Offer>& offers, const std::vector<Buffer>& windows) {
  must((1 + windows.size()) * sizeof(uint64_t) <= SharedGroupMemory::padded(window_bytes_),
       "a window has a word a rank");
  const auto word_of = [](const Buffer& window, size_t r) {
    return window.data() + kFirstWindow + (1 + r) * sizeof(uint64_t);
  };
  const auto me = static_cast<size_t>(rank_);
  PinnedVector<uint64_t> token(device, 1, "a token"), seen(device, windows.size(), "tokens");
  token.push_back(offers[me].token);
  for (const Buffer& window : windows) device.copy(word_of(window, me), token.data(), sizeof(uint64_t));
  device.synchronize();
  all_say(true);  // all have written
  seen.resize(windows.size());
  device.copy(seen.data(), word_of(windows[me], 0), windows.size() * sizeof(uint64_t));
  device.synchronize();
  bool equal = true;
  for (size_t r = 0; r < windows.size(); r++) equal = equal && seen[r] == offers[r].token;
  return equal;
}

void GroupCollective::take_back(Device& device, std::vector<Buffer>& windows) {
  for (size_t r = 0; r < windows.size(); r++)
    if (r != static_cast<size_t>(rank_)) windows[r] = {};
  all_say(true);  // nobody has mine open any more
  windows.clear();
  pin_windows(device);
}

// Kernels that wait need their device to themselves: of two processes on one GPU only one runs at a time.
void GroupCollective::meet_on(const std::vector<Offer>& offers) {
  std::set<std::array<char, 16>> devices;
  for (const Offer& offer : offers) devices.insert(offer.handle.device);
  if (devices.size() < offers.size() || offers.size() > Device::kMostMeet) return;
  for (GroupMember& member : members_) {
    meeting_.places.push_back(member.on_device.as<uint32_t>());
    meeting_.name += fmt::format("{}{}", meeting_.name.empty() ? "" : ", ", member.world_rank);
  }
  meeting_.rank = rank_;
  meeting_.name = fmt::format("its group (world ranks {})", meeting_.name);
  transport_ = "p2p";
  exchange_ = 0;
}

void GroupCollective::pin_windows(Device& device) {
  device_ = &device;
  for (GroupMember& member : members_)
    member.pin = member.shared.data()
                     ? device.pin({member.shared.data(), member.shared.bytes()}, "the windows of a group")
                     : device.pin({member.memory.data(), member.memory.bytes()}, "the windows of a group");
}

// A rank that has come to exchange n has read all that exchange n - 1 showed: so when all have come, the window of
// exchange n - 1 may be filled again. That is why every local rank is waited for, whatever it shows.
void GroupCollective::do_exchange(std::span<const Piece> to, std::span<const Piece> from) {
  exchange_++;
  if (is_operation()) return device_->meet(meeting_);
  if (device_) device_->synchronize();
  if (ucx_) start_messages(to, from);
  auto& mine = members_[static_cast<size_t>(rank_)];
  if (mine.shared.data()) SharedGroupMemory::arrived(mine.shared.data()).store(exchange_, std::memory_order_release);
  for (auto& member : members_)
    if (&member != &mine) wait_for(member);
}

void GroupCollective::even_out() {
  if (is_operation() && exchange_ % 2 == 1) do_exchange({}, {});
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

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>

#include "base/error.h"
#include "comm/channels.h"
#include "comm/collective.h"
#include "comm/group_collective.h"
#include "comm/shared_domain.h"

namespace trireme {

namespace {

constexpr int kTag = 1;                                     // of the fabric's own messages, on its own communicator
constexpr std::chrono::milliseconds kGoodbyeLimit{10'000};  // for the ranks to end together

// What one end of a group or channel tells the other.
struct Introduction {
  uint64_t bytes = 0;   // of a window or slot: both ends must say the same
  uint32_t stream = 0;  // of my UCX messages
  int32_t slots = 0;
  char name[112] = "";   // of my shared window
  char fault[384] = "";  // why I cannot take part
  ExitCode code = ExitCode::done;

  void refuse(const Error& error);
};

void copy_text(char* to, size_t room, const std::string& text) { to[text.copy(to, room - 1)] = '\0'; }

void Introduction::refuse(const Error& error) {
  copy_text(fault, sizeof fault, error.what());
  code = error.code();
}

class HostFabric final : public Fabric {
 public:
  HostFabric(Communicator& world, int pretend_host_ranks);
  ~HostFabric() override;

  bool shares_memory(int world_rank) const override { return shares_[static_cast<size_t>(world_rank)]; }
  int domain() const override {
    return static_cast<int>(std::find(shares_.begin(), shares_.end(), true) - shares_.begin());
  }
  std::unique_ptr<Collective> collective(std::span<const int> members, size_t window_bytes) override;
  std::unique_ptr<Sender> sender(int to, size_t slot_bytes, int slots) override;
  std::unique_ptr<Receiver> receiver(int from, size_t slot_bytes, int slots) override;

 private:
  void start_ucx();
  uint32_t new_stream();
  void tell(int rank, const Introduction& mine);
  Introduction hear(int rank, const char* what);
  std::vector<Introduction> introduce(std::span<const int> members, const Introduction& mine);

  Communicator comm_;
  uint64_t job_token_ = 0;
  std::vector<bool> shares_;  // [world ranks]
  std::unique_ptr<UcxWorker> ucx_;
  size_t progress_ = 0;
  uint32_t next_stream_ = 1;
};

HostFabric::HostFabric(Communicator& world, int pretend_host_ranks) : comm_(world.split(0, world.rank())) {
  sweep_shared_windows();
  std::vector<std::byte> token(sizeof job_token_);
  uint64_t mine = random_u64();
  std::memcpy(token.data(), &mine, sizeof mine);
  comm_.broadcast(token, 0);
  std::memcpy(&job_token_, token.data(), sizeof job_token_);

  shares_ = prove_shared_memory(comm_, job_token_);
  if (pretend_host_ranks > 0)
    for (int r = 0; r < comm_.size(); r++)
      if (r / pretend_host_ranks != comm_.rank() / pretend_host_ranks) shares_[static_cast<size_t>(r)] = false;
  bool all_local = std::find(shares_.begin(), shares_.end(), false) == shares_.end();
  if (comm_.all_min(all_local) == 0) start_ucx();
}

void HostFabric::start_ucx() {
  std::string fault;
  std::vector<std::byte> address;
  try {
    ucx_ = std::make_unique<UcxWorker>();
    address = ucx_->address();
  } catch (const Error& error) {
    fault = fmt::format("rank {}: {}", comm_.rank(), error.what());
  }
  comm_.agree(fault, static_cast<int>(ExitCode::configuration));
  auto addresses = comm_.all_gather(address);
  for (int r = 0; r < comm_.size(); r++)
    if (!shares_memory(r)) ucx_->connect(r, addresses[static_cast<size_t>(r)]);
  progress_ = comm_.waiter().add_progress([this] { ucx_->progress(); });
}

// The highest of a tag's 16 bits is that of credits (channels.cpp).
uint32_t HostFabric::new_stream() {
  must(next_stream_ < 0x8000, "a rank forms fewer than 32767 groups and channels");
  return next_stream_++;
}

// The ranks end together: a connection that closes while others still wait looks like a lost rank.
HostFabric::~HostFabric() {
  if (!ucx_) return;
  auto& waiter = comm_.waiter();
  waiter.remove(progress_);
  if (std::uncaught_exceptions() > 0) return;
  const TemporaryDeadline deadline(waiter, std::min(waiter.deadline(), kGoodbyeLimit));
  try {
    UcxRequest flush;
    ucx_->flush(flush);
    waiter.until(
        [&] {
          ucx_->progress();
          return flush.done();
        },
        [] { return std::string("UCX messages to leave"); });
    comm_.barrier();
  } catch (const std::exception&) {
    // Nothing is left to be sent or received: whoever did not come has said why, or is reported by the launcher.
  }
}

void HostFabric::tell(int rank, const Introduction& mine) {
  comm_.send(rank, kTag, std::as_bytes(std::span(&mine, 1)));
}

Introduction HostFabric::hear(int rank, const char* what) {
  auto data = comm_.receive(rank, kTag, what);
  Introduction theirs;
  must(data.size() == sizeof theirs, "an introduction has its size");
  std::memcpy(&theirs, data.data(), sizeof theirs);
  return theirs;
}

// Collective over the members. Throws on all of them when one has a fault.
std::vector<Introduction> HostFabric::introduce(std::span<const int> members, const Introduction& mine) {
  std::vector<Introduction> all;
  for (int rank : members)
    if (rank != comm_.rank()) tell(rank, mine);
  for (int rank : members) all.push_back(rank == comm_.rank() ? mine : hear(rank, "the forming of a group"));
  for (size_t i = 0; i < all.size(); i++) {
    if (all[i].fault[0] != '\0') fail(all[i].code, "rank {}: {}", members[i], all[i].fault);
    must(all[i].bytes == mine.bytes && all[i].slots == mine.slots, "all members ask for the same group");
  }
  return all;
}

std::unique_ptr<Collective> HostFabric::collective(std::span<const int> members, size_t window_bytes) {
  auto me = std::find(members.begin(), members.end(), comm_.rank());
  must(me != members.end(), "a group is formed by its members");
  size_t rank = static_cast<size_t>(me - members.begin());
  bool local = std::count_if(members.begin(), members.end(), [&](int r) { return shares_memory(r); }) > 1;
  bool remote = !std::all_of(members.begin(), members.end(), [&](int r) { return shares_memory(r); });
  size_t bytes = SharedGroupMemory::bytes(window_bytes);

  std::vector<GroupMember> group(members.size());
  Introduction mine{window_bytes, new_stream()};
  try {
    if (local)
      group[rank].shared = SharedWindow::create(job_token_, bytes, "a tensor-parallel group");
    else
      group[rank].memory =
          Buffer(2 * SharedGroupMemory::padded(window_bytes), "the windows of a tensor-parallel group");
    copy_text(mine.name, sizeof mine.name, group[rank].shared.name());
  } catch (const Error& error) {
    mine.refuse(error);
  }
  auto all = introduce(members, mine);

  Introduction attached{window_bytes};
  for (size_t r = 0; r < group.size(); r++) {
    group[r].world_rank = members[r];
    group[r].stream = all[r].stream;
    if (r == rank) continue;
    group[r].remote = !shares_memory(members[r]);
    try {
      if (group[r].remote)
        group[r].memory = Buffer(2 * SharedGroupMemory::padded(window_bytes), "mirrors of remote windows");
      else
        group[r].shared = SharedWindow::open(all[r].name, bytes);
    } catch (const Error& error) {
      attached.refuse(error);
    }
  }
  introduce(members, attached);
  group[rank].shared.unlink();
  return std::make_unique<GroupCollective>(static_cast<int>(rank), std::move(group), window_bytes, comm_.waiter(),
                                           remote ? ucx_.get() : nullptr);
}

// The sender does not wait for its peer here, so that stages may form a ring in any order; the receiver unlinks.
std::unique_ptr<Sender> HostFabric::sender(int to, size_t slot_bytes, int slots) {
  Introduction mine{slot_bytes, new_stream(), slots};
  if (!shares_memory(to)) {
    tell(to, mine);
    return std::make_unique<UcxSender>(*ucx_, comm_.rank(), to, mine.stream, slot_bytes, slots, comm_.waiter());
  }
  SharedWindow window;
  try {
    window = SharedWindow::create(job_token_, SharedRing::bytes(slot_bytes, slots), "a channel between stages");
    new (window.data()) SharedRing;
    copy_text(mine.name, sizeof mine.name, window.name());
  } catch (const Error& error) {
    mine.refuse(error);
    tell(to, mine);
    throw;
  }
  tell(to, mine);
  return std::make_unique<SharedChannel>(std::move(window), to, slot_bytes, slots, comm_.waiter());
}

std::unique_ptr<Receiver> HostFabric::receiver(int from, size_t slot_bytes, int slots) {
  Introduction theirs = hear(from, "the forming of a channel");
  if (theirs.fault[0] != '\0') fail(theirs.code, "rank {}: {}", from, theirs.fault);
  must(theirs.bytes == slot_bytes && theirs.slots == slots, "both ends ask for the same channel");
  if (!shares_memory(from))
    return std::make_unique<UcxReceiver>(*ucx_, comm_.rank(), from, theirs.stream, slots, comm_.waiter());
  SharedWindow window = SharedWindow::take(theirs.name, SharedRing::bytes(slot_bytes, slots));
  window.unlink();
  return std::make_unique<SharedChannel>(std::move(window), from, slot_bytes, slots, comm_.waiter());
}

}  // namespace

std::unique_ptr<Fabric> Fabric::create(Communicator& world, int pretend_host_ranks) {
  return std::make_unique<HostFabric>(world, pretend_host_ranks);
}

}  // namespace trireme

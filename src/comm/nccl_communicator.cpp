#include "comm/nccl_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "base/bounded_call.h"
#include "base/error.h"
#include "device/pinned_vector.h"

namespace trireme {

namespace {

constexpr int kTag = 2;                                     // of the id, among the ranks' messages at set-up
constexpr std::chrono::milliseconds kGoodbyeLimit{10'000};  // for the ranks to end together
constexpr std::chrono::milliseconds kAbortLimit{1'000};     // the job is failing: its error line waits for this

}  // namespace

NcclCommunicator::NcclCommunicator(const Nccl& nccl, Communicator& ranks, std::span<const int> members, CudaDevice& gpu,
                                   int marks)
    : nccl_(nccl), ranks_(ranks), members_(members.begin(), members.end()), gpu_(gpu), lane_(gpu.open_lane(marks)) {
  const auto me = std::find(members_.begin(), members_.end(), ranks_.rank());
  must(me != members_.end(), "a group is formed by its members");
  rank_ = static_cast<int>(me - members_.begin());
  progress_ = waiter().add_progress([this] {
    if (newest_ >= 0) done(newest_);
  });
  try {
    connect();
  } catch (...) {
    leave();
    throw;
  }
}

NcclCommunicator::~NcclCommunicator() { leave(); }

// The first member's id goes to the others; then all meet in NCCL, and each sends its rank to each.
void NcclCommunicator::connect() {
  Nccl::Id id{};
  if (rank_ == 0) {
    const int made = nccl_.get_unique_id(&id);
    const auto bytes = std::as_bytes(std::span(&id, made == Nccl::kSuccess ? 1 : 0));
    for (int r = 1; r < size(); r++) ranks_.send(members_[static_cast<size_t>(r)], kTag, bytes);
    check(made, "an id");
  } else {
    const auto bytes = ranks_.receive(members_[0], kTag, "the id of an NCCL group");
    if (bytes.size() != sizeof id)
      fail(ExitCode::configuration, "NCCL made no id for {}; see the error of rank {}", group_text(), members_[0]);
    std::memcpy(&id, bytes.data(), sizeof id);
  }
  const size_t log = nccl_.log_bytes();
  Nccl::Config config;
  check(nccl_.init_rank(&comm_, size(), id, rank_, &config), "to start");
  settle("to start");

  const size_t slot = 64;  // bytes: aligned as any message
  PinnedVector<std::byte> seen(gpu_, slot * members_.size(), "a first message");
  seen.resize(slot * members_.size());
  const Buffer memory = gpu_.allocate(2 * seen.size(), "a first message");
  for (size_t r = 0; r < members_.size(); r++) std::memcpy(seen.data() + r * slot, &rank_, sizeof rank_);
  gpu_.copy(memory.data(), seen.data(), seen.size());
  std::vector<Move> moves;
  for (int r = 0; r < size(); r++) {
    if (r == rank_) continue;
    std::byte* mine = memory.data() + static_cast<size_t>(r) * slot;
    moves.push_back({mine, slot, r, true});
    moves.push_back({mine + seen.size(), slot, r, false});
  }
  follow();
  start(moves, 0);
  wait(0, [&] { return fmt::format("the first messages of {} (NCCL)", group_text()); });
  gpu_.copy(seen.data(), memory.data() + seen.size(), seen.size());
  gpu_.synchronize();
  for (int r = 0; r < size(); r++) {
    int theirs = r;
    if (r != rank_) std::memcpy(&theirs, seen.data() + static_cast<size_t>(r) * slot, sizeof theirs);
    if (theirs != r)
      fail(ExitCode::configuration, "NCCL {} brings other bytes than were sent to {} of {}; try --nccl off",
           nccl_.version(), rank_, group_text());
  }
  connected_ = true;
  const std::string transport = nccl_.transports_since(log);
  if (!transport.empty()) transport_ = transport;
}

void NcclCommunicator::start(std::span<const Move> moves, int mark) {
  check(nccl_.group_start(), "a group");
  for (const Move& move : moves)
    check(move.send ? nccl_.send(move.data, move.bytes, Nccl::kBytes, move.peer, comm_, lane_->stream())
                    : nccl_.receive(move.data, move.bytes, Nccl::kBytes, move.peer, comm_, lane_->stream()),
          move.send ? "to send" : "to receive");
  check(nccl_.group_end(), "a group");
  settle("to enqueue messages");
  lane_->mark(newest_ = mark);
}

void NcclCommunicator::start_sum(float* data, size_t count, int mark) {
  check(nccl_.group_start(), "a group");
  check(nccl_.all_reduce(data, data, count, Nccl::kFloats, Nccl::kSum, comm_, lane_->stream()), "a sum");
  check(nccl_.group_end(), "a group");
  settle("to enqueue a sum");
  lane_->mark(newest_ = mark);
}

void NcclCommunicator::ask() {
  int state = Nccl::kSuccess;
  check(nccl_.async_error(comm_, &state), "its state");
  check(state, "to move bytes");
}

bool NcclCommunicator::done(int mark) {
  ask();
  if (!lane_->passed(mark)) return false;
  if (mark == newest_) newest_ = -1;
  return true;
}

// What was called is enqueued when the state says so, whatever the call itself gave back (NVIDIA/nccl issue 1495).
void NcclCommunicator::settle(const char* what) {
  waiter().until(
      [&] {
        int state = Nccl::kSuccess;
        check(nccl_.async_error(comm_, &state), what);
        check(state, what);
        return state == Nccl::kSuccess;
      },
      [&] { return fmt::format("NCCL {} of {} (world rank {})", what, group_text(), ranks_.rank()); });
}

// It has no code for a GPU without room; CUDA's words for that stand in its own.
void NcclCommunicator::check(int code, const char* what) const {
  if (code == Nccl::kSuccess || code == Nccl::kInProgress) return;
  const std::string words = nccl_.error_text(code, comm_);
  const std::string said =
      fmt::format("NCCL {}, asked {} in {}, reports: {}", nccl_.version(), what, group_text(), words);
  if (words.find("out of memory") != words.npos)
    fail(ExitCode::out_of_memory, "{}; use more GPUs, lower --max-step-tokens or --max-seqs, or try --nccl off", said);
  if (connected_) fail(ExitCode::rank_lost, "{}; a rank or a link was lost", said);
  fail(ExitCode::configuration, "{}; try --nccl off, or NCCL_DEBUG=WARN for its own words", said);
}

// All that was started is done where nobody fails. In a job that fails, peers may never come.
void NcclCommunicator::leave() {
  waiter().remove(progress_);
  if (!comm_) return;
  bool whole = std::uncaught_exceptions() == 0 && !std::current_exception();
  if (whole) {
    const TemporaryDeadline deadline(waiter(), std::min(waiter().deadline(), kGoodbyeLimit));
    try {
      if (newest_ >= 0) wait(newest_, [] { return std::string("the last messages (NCCL)"); });
      check(nccl_.finalize(comm_), "to end");
      settle("to end");
    } catch (const std::exception&) {
      whole = false;  // whoever did not come has said why, or is reported by the launcher
    }
  }
  came_back(whole ? kGoodbyeLimit : kAbortLimit,
            [comm = std::exchange(comm_, nullptr), end = whole ? nccl_.destroy : nccl_.abort] { end(comm); });
}

std::string NcclCommunicator::group_text() const {
  return fmt::format("the group of world ranks {}", fmt::join(members_, ", "));
}

}  // namespace trireme

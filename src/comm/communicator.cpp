#include "comm/communicator.h"

#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <list>
#include <utility>

#include "base/bounded_call.h"
#include "base/error.h"
#include "comm/mpi_check.h"

namespace trireme {

namespace {

constexpr size_t kChunk = size_t{1} << 30;  // bytes of one broadcast call: MPI counts are int
constexpr int kLargestTag = 32767;          // what every MPI must allow

// A call under way and the memory it uses.
struct Operation {
  MPI_Request request = MPI_REQUEST_NULL;
  std::vector<std::byte> data;
  std::vector<int> counts, offsets;  // [ranks] bytes
};

bool is_done(MPI_Request& request) {
  int done = 0;
  mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
  return done != 0;
}

// The start of a broadcast: its length and, so that most need one message only, its first bytes.
struct Packet {
  uint64_t bytes = 0;
  std::byte first[1016] = {};
};
static_assert(sizeof(Packet) == 1024);

}  // namespace

struct Communicator::State {
  State(MPI_Comm comm_, Waiter& waiter_)
      : comm(comm_), waiter(waiter_), place(waiter.add_progress([this] { progress(); })) {
    mpi_check(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    mpi_check(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  ~State() {
    waiter.remove(place);
    // MPI still reads what has not been sent, and freeing a communicator among failing ranks may wait for them: both
    // are left to the end of the process.
    if (!sends.empty()) static_cast<void>(new std::list<Operation>(std::move(sends)));
    int ended = 0;
    MPI_Finalized(&ended);
    if (!ended && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm);
  }

  void progress() {
    if (!sends.empty()) std::erase_if(sends, [](Operation& send) { return is_done(send.request); });
  }

  // Waits with the deadline. When it passes, MPI may still write into the operation's memory, which is then left to it.
  void finish(std::unique_ptr<Operation>& operation, const char* what) {
    try {
      waiter.until([&] { return is_done(operation->request); },
                   [&] { return fmt::format("{} (MPI, rank {} of {})", what, rank, size); });
    } catch (...) {
      static_cast<void>(operation.release());
      throw;
    }
  }

  int64_t all_reduce(int64_t mine, MPI_Op op, const char* what) {
    auto operation = std::make_unique<Operation>();
    operation->data.resize(sizeof mine);
    std::memcpy(operation->data.data(), &mine, sizeof mine);
    mpi_check(MPI_Iallreduce(MPI_IN_PLACE, operation->data.data(), 1, MPI_INT64_T, op, comm, &operation->request),
              "MPI_Iallreduce");
    finish(operation, what);
    std::memcpy(&mine, operation->data.data(), sizeof mine);
    return mine;
  }

  // [begin, begin + bytes) of `data`, in place.
  void broadcast(std::vector<std::byte>& data, size_t begin, size_t bytes, int root) {
    auto operation = std::make_unique<Operation>();
    operation->data = std::move(data);
    mpi_check(MPI_Ibcast(operation->data.data() + begin, checked_int(bytes, "a broadcast"), MPI_BYTE, root, comm,
                         &operation->request),
              "MPI_Ibcast");
    finish(operation, "a broadcast");
    data = std::move(operation->data);
  }

  std::optional<Message> try_receive(int from, int tag) {
    int found = 0, bytes = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    mpi_check(MPI_Improbe(from, tag, comm, &found, &message, &status), "MPI_Improbe");
    if (!found) return std::nullopt;
    mpi_check(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    auto operation = std::make_unique<Operation>();
    operation->data.resize(static_cast<size_t>(bytes));
    mpi_check(MPI_Imrecv(operation->data.data(), bytes, MPI_BYTE, &message, &operation->request), "MPI_Imrecv");
    finish(operation, "the rest of a message");
    return Message{status.MPI_SOURCE, std::move(operation->data)};
  }

  MPI_Comm comm;
  Waiter& waiter;
  size_t place;
  int rank = 0, size = 1;
  std::list<Operation> sends;
};

Communicator::Communicator(std::unique_ptr<State> state) : state_(std::move(state)) {}
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

Communicator Communicator::duplicate(Source source, Waiter& waiter) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  must(initialized != 0, "MPI is initialized before ranks communicate");
  MPI_Request request = MPI_REQUEST_NULL;
  auto copy = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  mpi_check(MPI_Comm_idup(source == Source::world ? MPI_COMM_WORLD : MPI_COMM_SELF, copy.get(), &request),
            "MPI_Comm_idup");
  try {
    waiter.until([&] { return is_done(request); }, [] { return std::string("all ranks to start (MPI_Comm_idup)"); });
  } catch (...) {
    static_cast<void>(copy.release());  // MPI may still write it
    throw;
  }
  mpi_check(MPI_Comm_set_errhandler(*copy, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return Communicator(std::make_unique<State>(*copy, waiter));
}

Communicator Communicator::world(Waiter& waiter) { return duplicate(Source::world, waiter); }
Communicator Communicator::self(Waiter& waiter) { return duplicate(Source::self, waiter); }

void* Communicator::handle() const { return state_->comm; }
int Communicator::rank() const { return state_->rank; }
int Communicator::size() const { return state_->size; }
Waiter& Communicator::waiter() const { return state_->waiter; }

// MPI has no non-blocking split: a barrier first, so that it begins with all ranks present, then the same deadline.
Communicator Communicator::split(int color, int key) const {
  barrier();
  MPI_Comm part = MPI_COMM_NULL;
  const BoundedCall call("all ranks in MPI_Comm_split", waiter().deadline(), waiter().end());
  mpi_check(MPI_Comm_split(state_->comm, color, key, &part), "MPI_Comm_split");
  return Communicator(std::make_unique<State>(part, waiter()));
}

void Communicator::barrier() const {
  auto operation = std::make_unique<Operation>();
  mpi_check(MPI_Ibarrier(state_->comm, &operation->request), "MPI_Ibarrier");
  state_->finish(operation, "a barrier");
}

void Communicator::broadcast(std::vector<std::byte>& data, int root) const {
  if (size() == 1) return;
  Packet packet;
  packet.bytes = data.size();
  size_t inside = std::min(data.size(), sizeof packet.first);
  if (rank() == root && inside > 0) std::memcpy(packet.first, data.data(), inside);
  std::vector<std::byte> head(sizeof packet);
  std::memcpy(head.data(), &packet, sizeof packet);
  state_->broadcast(head, 0, sizeof packet, root);
  std::memcpy(&packet, head.data(), sizeof packet);
  data.resize(packet.bytes);
  inside = std::min(data.size(), sizeof packet.first);
  if (inside > 0) std::memcpy(data.data(), packet.first, inside);
  for (size_t begin = inside; begin < data.size(); begin += kChunk)
    state_->broadcast(data, begin, std::min(kChunk, data.size() - begin), root);
}

std::vector<std::vector<std::byte>> Communicator::all_gather(std::span<const std::byte> mine) const {
  size_t ranks = static_cast<size_t>(size()), me = static_cast<size_t>(rank());
  auto sizes = std::make_unique<Operation>();
  sizes->counts.resize(ranks);
  sizes->counts[me] = checked_int(mine.size(), "a gathered piece");
  mpi_check(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, sizes->counts.data(), 1, MPI_INT, state_->comm,
                           &sizes->request),
            "MPI_Iallgather");
  state_->finish(sizes, "the sizes of gathered pieces");

  auto pieces = std::make_unique<Operation>();
  pieces->counts = sizes->counts;
  pieces->offsets.resize(ranks);
  size_t total = 0;
  for (size_t r = 0; r < ranks; r++) {
    pieces->offsets[r] = checked_int(total, "a gather");
    total += static_cast<size_t>(pieces->counts[r]);
  }
  pieces->data.resize(total);
  if (!mine.empty()) std::memcpy(pieces->data.data() + pieces->offsets[me], mine.data(), mine.size());
  mpi_check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, pieces->data.data(), pieces->counts.data(),
                            pieces->offsets.data(), MPI_BYTE, state_->comm, &pieces->request),
            "MPI_Iallgatherv");
  state_->finish(pieces, "gathered pieces");
  std::vector<std::vector<std::byte>> all(ranks);
  for (size_t r = 0; r < ranks; r++) {
    auto begin = pieces->data.begin() + pieces->offsets[r];
    all[r].assign(begin, begin + pieces->counts[r]);
  }
  return all;
}

void Communicator::all_or(std::span<uint64_t> words) const {
  auto operation = std::make_unique<Operation>();
  operation->data.assign(std::as_bytes(words).begin(), std::as_bytes(words).end());
  mpi_check(MPI_Iallreduce(MPI_IN_PLACE, operation->data.data(), checked_int(words.size(), "words to combine"),
                           MPI_UINT64_T, MPI_BOR, state_->comm, &operation->request),
            "MPI_Iallreduce");
  state_->finish(operation, "the words of all ranks");
  std::memcpy(words.data(), operation->data.data(), operation->data.size());
}

int64_t Communicator::all_min(int64_t mine) const { return state_->all_reduce(mine, MPI_MIN, "a minimum over ranks"); }
int64_t Communicator::all_max(int64_t mine) const { return state_->all_reduce(mine, MPI_MAX, "a maximum over ranks"); }
int64_t Communicator::all_sum(int64_t mine) const { return state_->all_reduce(mine, MPI_SUM, "a sum over ranks"); }

void Communicator::agree(const std::string& fault, int exit_code) const {
  const FirstFault first = first_fault(fault, exit_code);
  if (!first.text.empty()) throw Error(static_cast<ExitCode>(first.exit_code), first.text);
}

Communicator::FirstFault Communicator::first_fault(const std::string& fault, int exit_code) const {
  int64_t first = all_min(fault.empty() ? size() : rank());
  if (first == size()) return {};
  std::vector<std::byte> words(sizeof exit_code + fault.size());
  std::memcpy(words.data(), &exit_code, sizeof exit_code);
  std::memcpy(words.data() + sizeof exit_code, fault.data(), fault.size());
  broadcast(words, static_cast<int>(first));
  std::memcpy(&exit_code, words.data(), sizeof exit_code);
  const auto* text = reinterpret_cast<const char*>(words.data()) + sizeof exit_code;
  return {exit_code, std::string(text, words.size() - sizeof exit_code)};
}

void Communicator::send(int to, int tag, std::span<const std::byte> data) {
  must(tag >= 0 && tag <= kLargestTag, "0 <= tag <= 32767");
  int bytes = checked_int(data.size(), "a message");
  Operation& send = state_->sends.emplace_back();
  send.data.assign(data.begin(), data.end());
  mpi_check(MPI_Isend(send.data.data(), bytes, MPI_BYTE, to, tag, state_->comm, &send.request), "MPI_Isend");
}

std::optional<Communicator::Message> Communicator::try_receive(int tag) {
  state_->progress();
  return state_->try_receive(MPI_ANY_SOURCE, tag);
}

std::vector<std::byte> Communicator::receive(int from, int tag, const char* what) {
  std::optional<Message> message;
  waiter().until([&] { return (message = state_->try_receive(from, tag)).has_value(); },
                 [&] { return fmt::format("{} from rank {} (MPI, at rank {} of {})", what, from, rank(), size()); });
  return std::move(message->data);
}

void Communicator::flush() {
  waiter().until(
      [&] {
        state_->progress();
        return state_->sends.empty();
      },
      [&] { return fmt::format("{} messages of rank {} to be taken (MPI)", state_->sends.size(), rank()); });
}

}  // namespace trireme

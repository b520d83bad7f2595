#include "job/dealer.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "job/signs_of_life.h"

using namespace trireme;

namespace {

// Ranks in one process: what one sends, another finds.
class Mail {
 public:
  explicit Mail(int ranks) : boxes_(static_cast<size_t>(ranks)) {}
  std::deque<Transport::Message>& box(int rank, int tag) { return boxes_[static_cast<size_t>(rank)][tag]; }

 private:
  std::vector<std::map<int, std::deque<Transport::Message>>> boxes_;
};

class MailTransport : public Transport {
 public:
  MailTransport(Mail& mail, int rank) : mail_(mail), rank_(rank) {}
  void send(int to, int tag, std::span<const std::byte> data) override {
    mail_.box(to, tag).push_back({rank_, {data.begin(), data.end()}});
  }
  std::optional<Message> try_receive(int tag) override {
    auto& box = mail_.box(rank_, tag);
    if (box.empty()) return std::nullopt;
    Message message = std::move(box.front());
    box.pop_front();
    return message;
  }

 private:
  Mail& mail_;
  int rank_;
};

// A replica that holds `room` documents and finishes each after some steps.
struct Replica {
  WorkQueue& queue;
  int room;
  int speed;  // documents a step
  std::vector<Document> held;
  int finished = 0;

  void step() {
    for (Document& document : queue.take(room - static_cast<int>(held.size()))) held.push_back(std::move(document));
    CHECK(static_cast<int>(held.size()) <= room);
    for (int i = 0; i < speed && !held.empty(); i++, finished++) {
      queue.deliver({held.back().header.row, held.back().content, false, 1, 2});
      held.pop_back();
    }
  }
};

// Now and then a draw is empty, as after a run of error rows.
Dealer::NextDocument source(uint64_t count) {
  return [count, row = uint64_t{0}, draws = 0]() mutable -> Dealer::Draw {
    if (row == count) return {std::nullopt, true};
    if (++draws % 61 == 0) return {};
    Document document;
    document.header.row = row++;
    document.content = "text " + std::to_string(document.header.row);
    return {document, false};
  };
}

}  // namespace

TEST_CASE("every document is dealt once, more to the faster replica, and all learn of the end") {
  for (uint64_t count : {0, 1, 7, 1000}) {
    CAPTURE(count);
    Mail mail(3);
    MailTransport t0(mail, 0), t1(mail, 1), t2(mail, 2);
    std::set<uint64_t> rows;
    Dealer dealer(t0, 2, source(count), [&](FinishedRow row) {
      CHECK(rows.insert(row.row).second);
      CHECK(row.line == "text " + std::to_string(row.row));
    });
    RemoteWorkQueue queue1(t1), queue2(t2);
    Replica replicas[] = {{dealer, 4, 1}, {queue1, 4, 1}, {queue2, 100, 10}};
    for (int step = 0; step < 2000 && !dealer.complete(); step++) {
      dealer.serve();
      for (Replica& replica : replicas) replica.step();
    }
    CHECK(dealer.complete());
    CHECK(rows.size() == count);
    for (Replica& replica : replicas) CHECK(replica.queue.drained());
    if (count == 1000) CHECK(replicas[2].finished > 4 * replicas[1].finished);
  }
}

TEST_CASE("a job is not complete before its last result is here") {
  Mail mail(2);
  MailTransport t0(mail, 0), t1(mail, 1);
  Dealer dealer(t0, 1, source(1), [](FinishedRow) {});
  RemoteWorkQueue queue(t1);
  CHECK(queue.take(5).empty());
  dealer.serve();
  CHECK(queue.take(5).size() == 1);
  CHECK(queue.drained());
  CHECK_FALSE(dealer.complete());
  queue.deliver({0, "x", true, 0, 0});
  dealer.serve();
  CHECK(dealer.complete());
}

TEST_CASE(
    "leaders hear of each other, and how far they are, while they have nothing to say; one that is silent too long is "
    "named") {
  using std::chrono::milliseconds;
  Mail mail(3);
  MailTransport t0(mail, 0), t1(mail, 1);
  SignsOfLife rank0(t0, {1, 2}, milliseconds(1500)), leader1(t1, {0}, milliseconds(1500)),
      alone(t0, {}, milliseconds(0));
  alone.exchange(0);
  auto until = std::chrono::steady_clock::now() + milliseconds(1300);
  while (std::chrono::steady_clock::now() < until) {
    rank0.exchange(100);
    leader1.exchange(7);
    std::this_thread::sleep_for(milliseconds(20));
  }
  CHECK(rank0.positions_elsewhere() == 7);
  std::string said;
  for (int i = 0; i < 200 && said.empty(); i++) try {
      rank0.exchange(100);
      leader1.exchange(7);
      std::this_thread::sleep_for(milliseconds(20));
    } catch (const Error& e) {
      CHECK(e.code() == ExitCode::rank_lost);
      said = e.what();
    }
  CHECK(said.find("rank 2") != std::string::npos);
}

TEST_CASE("a leader that was stopped itself does not give its peers up for that") {
  using std::chrono::milliseconds;
  Mail mail(2);
  MailTransport t0(mail, 0), t1(mail, 1);
  SignsOfLife rank0(t0, {1}, milliseconds(400)), leader(t1, {0}, milliseconds(400));
  rank0.exchange(0);
  leader.exchange(0);
  std::this_thread::sleep_for(milliseconds(1100));  // both, as when a job is suspended
  CHECK_NOTHROW(rank0.exchange(0));
  CHECK_NOTHROW(leader.exchange(0));
  CHECK_NOTHROW(rank0.exchange(0));
}

TEST_CASE("a leader learns from rank 0's last sign that the job is over") {
  Mail mail(2);
  MailTransport t0(mail, 0), t1(mail, 1);
  SignsOfLife rank0(t0, {1}, std::chrono::seconds(60)), leader(t1, {0}, std::chrono::seconds(60));
  rank0.exchange(0);
  leader.exchange(0);
  CHECK(!leader.over());
  rank0.leave();
  leader.exchange(0);
  CHECK(leader.over());
}

TEST_CASE("documents and results survive the wire; a damaged message is noticed") {
  Document document;
  document.header = {5, 6, 7, {true, "-12"}, R"({"a":1})"};
  document.kind = ContentKind::token_ids;
  document.token_ids = {1, 2, 3};
  document.sampling = {7, 0.5f, std::nullopt, 3, 1u, std::vector<std::string>{"a", ""}, false};
  WireWriter wire;
  put_document(wire, document);
  WireReader reader(wire.data());
  Document copy = get_document(reader);
  reader.finish();
  CHECK(copy.header.row == 5);
  CHECK(copy.header.line == 6);
  CHECK(copy.header.byte == 7);
  CHECK(copy.header.id == document.header.id);
  CHECK(copy.header.input == document.header.input);
  CHECK(copy.kind == document.kind);
  CHECK(copy.token_ids == document.token_ids);
  CHECK(copy.sampling.max_tokens == 7);
  CHECK(copy.sampling.temperature == 0.5f);
  CHECK_FALSE(copy.sampling.top_p);
  CHECK(copy.sampling.top_k == 3);
  CHECK(copy.sampling.seed == 1u);
  CHECK(copy.sampling.stop == document.sampling.stop);
  CHECK(copy.sampling.ignore_eos == false);

  std::vector<std::byte> bytes(wire.data().begin(), wire.data().end());
  for (size_t keep = 0; keep < bytes.size(); keep++) {
    WireReader cut(std::span<const std::byte>(bytes).first(keep));
    CHECK_THROWS_AS(get_document(cut), Error);
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; i++) {  // any bytes: an Error or some document, never a crash
    auto damaged = bytes;
    for (int k = 0; k < 3; k++) damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    WireReader any{std::span<const std::byte>(damaged)};
    try {
      get_document(any);
    } catch (const Error&) {
    }
  }
}

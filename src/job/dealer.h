#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "job/document_wire.h"

namespace trireme {

// What dealing needs of the control plane (comm_transport.h puts a Communicator behind it).
class Transport {
 public:
  struct Message {
    int from = 0;
    std::vector<std::byte> data;
  };
  virtual ~Transport() = default;
  virtual void send(int to, int tag, std::span<const std::byte> data) = 0;  // returns at once, keeps its own copy
  virtual std::optional<Message> try_receive(int tag) = 0;  // from anyone; each sender's keep their order
};

// Where the leader of a replica gets documents and puts results; the same on rank 0 and elsewhere. Never waits.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // Up to `room` documents that are here now. Call it every step with the room left: it also asks for more.
  virtual std::vector<Document> take(int room) = 0;
  virtual bool drained() const = 0;  // no document will come any more
  virtual void deliver(FinishedRow row) = 0;
};

// Rank 0: deals documents to whoever asks, so that a fast replica takes more, and takes in what is finished.
//   leader -> rank 0   kAskTag       int32: how many documents it has room for
//   rank 0 -> leader   kDealTag      flag: that was the last; count; documents (at most what was asked, maybe none)
//   leader -> rank 0   kFinishedTag  count; finished rows
class Dealer : public WorkQueue {
 public:
  // A document; or none for now, when many rows on the way were errors (no step waits for all of them); or the end.
  struct Draw {
    std::optional<Document> document;
    bool ended = false;
  };
  using NextDocument = std::function<Draw()>;  // not asked again after the end
  using Accept = std::function<void(FinishedRow)>;

  // remote_leaders: replicas other than rank 0's own.
  Dealer(Transport& transport, int remote_leaders, NextDocument next, Accept accept);

  void serve();           // answers all that has come; call it every step
  bool complete() const;  // everything dealt is finished, and every leader knows that no more comes

  // Rank 0's own replica.
  std::vector<Document> take(int room) override;
  bool drained() const override { return exhausted_; }
  void deliver(FinishedRow row) override;

  static constexpr int kAskTag = 100, kDealTag = 101, kFinishedTag = 102;

 private:
  std::optional<Document> draw();
  void answer(int leader, int room);

  Transport& transport_;
  int leaders_to_release_;
  NextDocument next_;
  Accept accept_;
  bool exhausted_ = false;
  uint64_t dealt_ = 0, finished_ = 0;
};

// The leader of any other replica.
class RemoteWorkQueue : public WorkQueue {
 public:
  explicit RemoteWorkQueue(Transport& transport) : transport_(transport) {}

  std::vector<Document> take(int room) override;
  bool drained() const override { return last_seen_ && waiting_.empty(); }
  void deliver(FinishedRow row) override;

 private:
  void receive();

  Transport& transport_;
  std::deque<Document> waiting_;
  bool asked_ = false, last_seen_ = false;
};

}  // namespace trireme

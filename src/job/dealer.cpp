#include "job/dealer.h"

namespace trireme {

namespace {

// Documents of one answer, at most: a leader with much room gets its first ones before rank 0 has read all the rest,
// and no step waits until many long ones are read and tokenized.
constexpr int kMaxDeal = 64;
constexpr size_t kMaxDealBytes = 1 << 20;

}  // namespace

Dealer::Dealer(Transport& transport, int remote_leaders, NextDocument next, Accept accept)
    : transport_(transport), leaders_to_release_(remote_leaders), next_(std::move(next)), accept_(std::move(accept)) {}

std::optional<Document> Dealer::draw() {
  if (exhausted_) return std::nullopt;
  Draw drawn = next_();
  exhausted_ = drawn.ended;
  dealt_ += drawn.document.has_value();
  return std::move(drawn.document);
}

void Dealer::answer(int leader, int room) {
  WireWriter documents;
  uint64_t count = 0;
  for (; count < static_cast<uint64_t>(std::min(room, kMaxDeal)) && documents.data().size() < kMaxDealBytes; count++) {
    auto document = draw();
    if (!document) break;
    put_document(documents, *document);
  }
  WireWriter message;
  message.put(static_cast<uint8_t>(exhausted_));
  message.put(count);
  message.append(documents.data());
  transport_.send(leader, kDealTag, message.data());
  leaders_to_release_ -= exhausted_;
}

void Dealer::serve() {
  while (auto message = transport_.try_receive(kFinishedTag)) {
    WireReader wire(message->data);
    for (uint64_t left = wire.get_count(1); left > 0; left--) deliver(get_finished(wire));
    wire.finish();
  }
  while (auto message = transport_.try_receive(kAskTag)) {
    WireReader wire(message->data);
    auto room = wire.get<int32_t>();
    wire.finish();
    must(room > 0, "a leader asks for at least one document");
    answer(message->from, room);
  }
}

bool Dealer::complete() const { return exhausted_ && leaders_to_release_ == 0 && finished_ == dealt_; }

std::vector<Document> Dealer::take(int room) {
  std::vector<Document> documents;
  for (size_t bytes = 0; std::ssize(documents) < std::min(room, kMaxDeal) && bytes < kMaxDealBytes;) {
    auto document = draw();
    if (!document) break;
    bytes += document->content.size();
    documents.push_back(std::move(*document));
  }
  return documents;
}

void Dealer::deliver(FinishedRow row) {
  finished_++;
  accept_(std::move(row));
}

void RemoteWorkQueue::receive() {
  while (auto message = transport_.try_receive(Dealer::kDealTag)) {
    WireReader wire(message->data);
    last_seen_ = wire.get_flag();
    for (uint64_t left = wire.get_count(1); left > 0; left--) waiting_.push_back(get_document(wire));
    wire.finish();
    asked_ = false;
  }
}

std::vector<Document> RemoteWorkQueue::take(int room) {
  receive();
  std::vector<Document> documents;
  while (static_cast<int>(documents.size()) < room && !waiting_.empty()) {
    documents.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  int wanted = room - static_cast<int>(documents.size());
  if (wanted > 0 && !asked_ && !last_seen_) {
    WireWriter message;
    message.put(static_cast<int32_t>(wanted));
    transport_.send(0, Dealer::kAskTag, message.data());
    asked_ = true;
  }
  return documents;
}

void RemoteWorkQueue::deliver(FinishedRow row) {
  WireWriter message;
  message.put(uint64_t{1});
  put_finished(message, row);
  transport_.send(0, Dealer::kFinishedTag, message.data());
}

}  // namespace trireme

#pragma once

#include <deque>
#include <functional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "job/dealer.h"
#include "job/result_line.h"

namespace trireme {

// The rows that one replica works on: documents become requests, completions become output lines.
class ReplicaRows {
 public:
  using Prepare = std::function<std::variant<Request, RowError>(const Document&)>;

  // `queue` must outlive this.
  ReplicaRows(WorkQueue& queue, Prepare prepare, ResultStyle style)
      : queue_(queue), prepare_(std::move(prepare)), style_(std::move(style)) {}

  // Requests that are here now, so that at most `depth` rows are in flight; a document that cannot be one is delivered
  // as an error row. Call it every step: templates may be slow, and after a second the rest stays for the next.
  std::vector<Request> take(int depth);
  void finish(const Completion& completion);
  bool drained() const { return queue_.drained() && waiting_.empty() && headers_.empty(); }

 private:
  WorkQueue& queue_;
  Prepare prepare_;
  ResultStyle style_;
  std::deque<Document> waiting_;                     // to be prepared
  std::unordered_map<uint64_t, RowHeader> headers_;  // by row
};

}  // namespace trireme

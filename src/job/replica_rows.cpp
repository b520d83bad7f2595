#include "job/replica_rows.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "base/error.h"

namespace trireme {

namespace {

using Clock = std::chrono::steady_clock;

// The other ranks of the replica wait meanwhile. One document's template takes two seconds at most
// (text/template_limits.h).
constexpr std::chrono::seconds kMostOfStep{1};

}  // namespace

std::vector<Request> ReplicaRows::take(int depth) {
  const int room = depth - static_cast<int>(headers_.size() + waiting_.size());
  if (room > 0) std::ranges::move(queue_.take(room), std::back_inserter(waiting_));
  std::vector<Request> requests;
  for (const auto start = Clock::now(); !waiting_.empty() && Clock::now() - start < kMostOfStep; waiting_.pop_front()) {
    Document& document = waiting_.front();
    auto result = prepare_(document);
    if (auto* request = std::get_if<Request>(&result)) {
      headers_.emplace(request->row, std::move(document.header));
      requests.push_back(std::move(*request));
    } else {
      const RowError& error = std::get<RowError>(result);
      queue_.deliver({error.header.row, error_line(error), true, 0, 0});
    }
  }
  return requests;
}

void ReplicaRows::finish(const Completion& completion) {
  auto found = headers_.find(completion.row);
  must(found != headers_.end(), "a completion is of a row in flight");
  bool is_error = !completion.error_code.empty();
  queue_.deliver({completion.row, result_line(found->second, completion, style_), is_error, completion.prompt_tokens,
                  completion.completion_tokens});
  headers_.erase(found);
}

}  // namespace trireme

#include "job/replica_rows.h"

#include "base/error.h"

namespace trireme {

std::vector<Request> ReplicaRows::take(int depth) {
  std::vector<Request> requests;
  int room = depth - static_cast<int>(headers_.size());
  if (room <= 0) return requests;
  for (Document& document : queue_.take(room)) {
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

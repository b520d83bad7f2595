// The job layer from input to output around an engine that counts letters: how launch wires it, in one process.
#include <doctest/doctest.h>

#include <chrono>
#include <deque>
#include <thread>

#include "base/error.h"
#include "job/dealer.h"
#include "job/ledger.h"
#include "job/replica_rows.h"
#include "job/run_folder.h"
#include "testkit/error_of.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

class NoTransport : public Transport {
 public:
  void send(int, int, std::span<const std::byte>) override { FAIL("there is nobody to send to"); }
  std::optional<Message> try_receive(int) override { return std::nullopt; }
};

// A token is a letter; the last request taken finishes first; at most one a step.
class LetterEngine {
 public:
  void submit(Request request) { requests_.push_back(std::move(request)); }
  std::vector<Completion> step() {
    if (requests_.empty()) return {};
    Completion completion;
    completion.row = requests_.back().row;
    completion.finish_reason = "length";
    completion.prompt_tokens = static_cast<int64_t>(requests_.back().prompt.size());
    requests_.pop_back();
    return {completion};
  }

 private:
  std::vector<Request> requests_;
};

std::variant<Request, RowError> prepare(const Document& document) {
  if (document.content.empty()) return RowError{document.header, "empty_prompt", "the prompt has no tokens", true};
  Request request;
  request.row = document.header.row;
  request.prompt.assign(document.content.begin(), document.content.end());
  return request;
}

std::string run_job(const std::string& input, const std::string& out, Tally& tally) {
  RunFolder folder(out);
  folder.begin({{{"input", survey_input(input).digest}}, {}}, false);
  ResultStore store(folder.part_path());
  Ledger ledger(Corpus::open(input), survey_input(input), store);
  NoTransport transport;
  Dealer dealer(
      transport, 0, [&] { return ledger.next(); }, [&](FinishedRow row) { ledger.accept(std::move(row)); });
  ReplicaRows rows(dealer, prepare, {});
  LetterEngine engine;
  while (!dealer.complete()) {
    dealer.serve();
    for (Request& request : rows.take(3)) engine.submit(std::move(request));
    for (const Completion& completion : engine.step()) rows.finish(completion);
  }
  CHECK(ledger.tally().rows_done == ledger.tally().rows_total);
  CHECK(rows.drained());
  store.publish(out);
  tally = ledger.tally();
  return read_whole_file(out);
}

}  // namespace

TEST_CASE("one line out per line in, in order, with the example of docs/formats.md") {
  testkit::TempFolder folder;
  std::string input = folder.put("in.jsonl", R"({"id": "a", "text": "Hello", "title": "Greeting"}
{"id": "a", "text": "Hello again"}

{"text": 5}
{"id": 9, "text": ""}
{"prompt": "last"}
)");
  Tally tally;
  CHECK(
      run_job(input, folder / "out.jsonl", tally) ==
      R"({"id":"a","input":{"title":"Greeting"},"text":"","finish_reason":"length","usage":{"prompt_tokens":5,"completion_tokens":0}}
{"id":"a","text":null,"finish_reason":"error","usage":{"prompt_tokens":0,"completion_tokens":0},"error":{"code":"duplicate_id","message":"id a was in an earlier row already; ids must differ","line":2,"byte":50}}
{"id":4,"text":null,"finish_reason":"error","usage":{"prompt_tokens":0,"completion_tokens":0},"error":{"code":"bad_field","message":"text must be a string, not 5","line":4,"byte":86}}
{"id":9,"text":null,"finish_reason":"error","usage":{"prompt_tokens":0,"completion_tokens":0},"error":{"code":"empty_prompt","message":"the prompt has no tokens","line":5,"byte":98}}
{"id":6,"text":"","finish_reason":"length","usage":{"prompt_tokens":4,"completion_tokens":0}}
)");
  CHECK(tally.rows_total == 5);
  CHECK(tally.rows_done == 5);
  CHECK(tally.rows_failed == 3);
  CHECK(tally.prompt_tokens == 9);
}

TEST_CASE("slow templates keep a step for about a second, and what is left comes with the next") {
  testkit::TempFolder folder;
  std::string rows;
  for (int i = 0; i < 6; i++)
    rows += R"({"prompt": "a"})"
            "\n";
  const std::string input = folder.put("in.jsonl", rows);
  ResultStore store(folder / "part");
  Ledger ledger(Corpus::open(input), survey_input(input), store);
  NoTransport transport;
  Dealer dealer(
      transport, 0, [&] { return ledger.next(); }, [&](FinishedRow row) { ledger.accept(std::move(row)); });
  const auto slowly = [](const Document& document) {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return prepare(document);
  };
  ReplicaRows replica(dealer, slowly, {});
  std::vector<uint64_t> taken;
  std::vector<size_t> steps;
  while (taken.size() < 6) {
    const std::vector<Request> requests = replica.take(5);
    for (const Request& request : requests) taken.push_back(request.row);
    steps.push_back(requests.size());
    CHECK_FALSE(replica.drained());
    for (const Request& request : requests) {
      Completion completion;
      completion.row = request.row;
      completion.finish_reason = "length";
      replica.finish(completion);
    }
  }
  CHECK(taken == std::vector<uint64_t>{0, 1, 2, 3, 4, 5});
  CHECK(steps.size() >= 2);
  CHECK(steps[0] <= 3);
  CHECK(replica.take(5).empty());
  CHECK(replica.drained());
}

TEST_CASE("an input of nothing gives an output of nothing") {
  testkit::TempFolder folder;
  Tally tally;
  CHECK(run_job(folder.put("in.jsonl", "\n \n"), folder / "out.jsonl", tally).empty());
  CHECK(tally.rows_total == 0);
}

TEST_CASE("a long run of error rows is read in pieces, so that no step waits for all of it") {
  testkit::TempFolder folder;
  std::string input;
  for (int i = 0; i < 5000; i++) input += "{}\n";
  ResultStore store(folder / "part");
  const std::string path = folder.put("in.jsonl", input + "{\"text\":\"\"}\n");
  Ledger ledger(Corpus::open(path), survey_input(path), store);
  int draws = 0;
  for (auto draw = ledger.next(); !draw.document; draw = ledger.next(), draws++) {
    REQUIRE_FALSE(draw.ended);
    REQUIRE(ledger.tally().rows_done <= 1024 * static_cast<uint64_t>(draws + 1));
  }
  CHECK(draws > 1);
  CHECK(ledger.tally().rows_failed == 5000);
  CHECK(ledger.next().ended);
}

TEST_CASE("an input file that changes between the survey and the reading is noticed at its end, be it by a letter") {
  testkit::TempFolder folder;
  // What is said when `now` is read where `before` was surveyed; a name with a slash is a file of a folder.
  auto said = [&](const std::string& name, std::string_view before, std::string_view now) {
    const std::string input = folder / name.substr(0, name.find('/'));
    folder.put(name, before);
    const InputSummary survey = survey_input(input);
    folder.put(name, now);
    ResultStore store(folder / "part");
    Ledger ledger(Corpus::open(input), survey, store);
    return testkit::error_of([&] {
      while (!ledger.next().ended) {
      }
    });
  };
  CHECK(said("same.jsonl", "{\"text\":\"six\"}\n", "{\"text\":\"six\"}\n") == "");
  CHECK(said("same/a.txt", "six", "six") == "");
  const std::string grown = said("in.jsonl", "{\"text\":\"\"}\n", "{\"text\":\"\"}\n{}\n");
  CHECK(testkit::contains(grown, "65: the input changed"));
  CHECK(testkit::contains(grown, "1 rows"));
  CHECK(testkit::contains(grown, "2 of"));
  CHECK(testkit::contains(said("in.jsonl", "{\"text\":\"six\"}\n", "{\"text\":\"ten\"}\n"), "the input changed"));
}

TEST_CASE("a file of a folder that somebody writes to while the job reads is read as it is then") {
  testkit::TempFolder folder;
  folder.put("texts/a.txt", "six");
  const InputSummary survey = survey_input(folder / "texts");
  folder.put("texts/a.txt", "seven");
  ResultStore store(folder / "part");
  Ledger ledger(Corpus::open(folder / "texts"), survey, store);
  CHECK(ledger.next().document.has_value());
  CHECK(ledger.next().ended);
}

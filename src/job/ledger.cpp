#include "job/ledger.h"

#include "base/error.h"
#include "base/hash.h"
#include "job/result_line.h"

namespace trireme {

namespace {

constexpr int kMostErrors = 1024;  // read in one go: some milliseconds, for which the replicas wait

}  // namespace

Ledger::Ledger(std::unique_ptr<Corpus> corpus, const InputSummary& survey, ResultStore& store, uint64_t run_digest)
    : reader_(std::move(corpus), run_digest), store_(store) {
  tally_.rows_total = survey.rows;
  // Files of a folder are read over hours: one that somebody writes to meanwhile does not cost the others' results.
  if (survey.kind != "folder") surveyed_digest_ = survey.digest;
}

Dealer::Draw Ledger::next() {
  for (int errors = 0; errors < kMostErrors; errors++) {
    auto result = reader_.next();
    if (!result) return end();
    tally_.rows_started++;
    if (auto* document = std::get_if<Document>(&*result)) return {std::move(*document), false};
    const RowError& error = std::get<RowError>(*result);
    accept({error.header.row, error_line(error), true, 0, 0});
  }
  return {};
}

Dealer::Draw Ledger::end() {
  const uint64_t digest = reader_.input_digest();
  if (tally_.rows_started != tally_.rows_total || surveyed_digest_.value_or(digest) != digest)
    fail(ExitCode::bad_data,
         "the input changed while it was read: {} rows{} when the run began, {} of XXH3 {} now; run again, with "
         "--restart",
         tally_.rows_total, surveyed_digest_ ? " of XXH3 " + hex16(*surveyed_digest_) : "", tally_.rows_started,
         hex16(digest));
  return {std::nullopt, true};
}

void Ledger::accept(FinishedRow row) {
  store_.append(row.row, row.line);
  tally_.rows_done++;
  tally_.prompt_tokens += row.prompt_tokens;
  tally_.completion_tokens += row.completion_tokens;
  if (!row.is_error) return;
  if (tally_.rows_failed++ == 0 || row.row < first_error_.row) first_error_ = std::move(row);
}

}  // namespace trireme

#pragma once

#include <memory>
#include <optional>

#include "job/dealer.h"
#include "job/document_reader.h"
#include "job/document_wire.h"
#include "job/progress.h"
#include "job/result_store.h"

namespace trireme {

// Rank 0's book of a job: which rows went out, which came back. Its two functions are what a Dealer needs.
class Ledger {
 public:
  // survey: of the same input. `store` must outlive this. run_digest: see DocumentReader.
  Ledger(std::unique_ptr<Corpus> corpus, const InputSummary& survey, ResultStore& store, uint64_t run_digest = 0);

  // Throws Error(bad_data) at the end of an input that is no longer the one surveyed.
  Dealer::Draw next();  // rows that are no documents are stored as error rows on the way
  void accept(FinishedRow row);
  const Tally& tally() const { return tally_; }
  const FinishedRow& first_error() const { return first_error_; }  // in input order, of those that came; if any

 private:
  Dealer::Draw end();

  DocumentReader reader_;
  ResultStore& store_;
  std::optional<uint64_t> surveyed_digest_;  // of one file
  Tally tally_;
  FinishedRow first_error_;
};

}  // namespace trireme

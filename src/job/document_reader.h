#pragma once

#include <memory>
#include <optional>

#include "job/corpus.h"
#include "job/document.h"
#include "job/id_set.h"

namespace trireme {

// Reads rows as documents. Keeps simdjson's buffers between rows (given back after a long one).
class DocumentParser {
 public:
  DocumentParser();
  ~DocumentParser();
  DocumentOrError parse(Row row);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A corpus as documents: reads, parses, and turns the second row with an id into an error row.
class DocumentReader {
 public:
  // run_digest: of the manifest's identity; the ids of batch results are made of it, the row and its id.
  explicit DocumentReader(std::unique_ptr<Corpus> corpus, uint64_t run_digest = 0)
      : corpus_(std::move(corpus)), run_digest_(run_digest) {}
  std::optional<DocumentOrError> next();
  uint64_t input_digest() const { return corpus_->digest(); }

 private:
  std::unique_ptr<Corpus> corpus_;
  uint64_t run_digest_;
  DocumentParser parser_;
  IdSet ids_;
};

}  // namespace trireme

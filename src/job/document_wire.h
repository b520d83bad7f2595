#pragma once

#include "base/wire.h"
#include "job/document.h"

namespace trireme {

// A row that is done: its output line and what it counts for. What a replica hands back.
struct FinishedRow {
  uint64_t row = 0;
  std::string line;  // without a line end
  bool is_error = false;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

void put_document(WireWriter& wire, const Document& document);
Document get_document(WireReader& wire);
void put_finished(WireWriter& wire, const FinishedRow& row);
FinishedRow get_finished(WireReader& wire);

}  // namespace trireme

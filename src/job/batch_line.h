#pragma once

#include <string>

#include "job/result_line.h"

namespace trireme {

// The result of a batch request as the published format has it: {"id", "custom_id", "response", "error"}, the response
// a chat completion or a text completion, by the row's url. What only we have (--tokens, --prompt-logprobs, --digest)
// stands in the choice, as further keys. header.form is not `own`.
std::string batch_line(const RowHeader& header, const Completion& completion, const ResultStyle& style);

// A row that failed: a response with a status code of HTTP and the error in its body.
std::string batch_error_line(const RowError& error);

}  // namespace trireme

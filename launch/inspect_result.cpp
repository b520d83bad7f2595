#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "job/corpus.h"
#include "launch/inspect.h"
#include "launch/json_lines.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

using Counts = std::map<std::string, uint64_t>;

struct Results {
  Counts finish_reasons, errors;  // rows by finish_reason, error rows by code
  int64_t prompt_tokens = 0, completion_tokens = 0;
  uint64_t digests = 0;  // rows with one
  StreamHash digest;     // of all of them, in order
};

template <typename T>
T value_at(const ordered_json& json, const char* place, T otherwise) {
  const ordered_json::json_pointer pointer(place);
  if (!json.contains(pointer)) return otherwise;
  const ordered_json& value = json[pointer];
  const bool fits = std::is_same_v<T, std::string> ? value.is_string() : value.is_number_integer();
  return fits ? value.get<T>() : otherwise;
}

// A row of either form; body: what holds usage and error.
void count_row(Results& results, const std::string& reason, const std::string& digest, const ordered_json& body) {
  const std::string error = value_at<std::string>(body, "/error/code", "");
  results.finish_reasons[error.empty() ? reason : "error"]++;
  if (!error.empty()) results.errors[error]++;
  results.prompt_tokens += value_at<int64_t>(body, "/usage/prompt_tokens", 0);
  results.completion_tokens += value_at<int64_t>(body, "/usage/completion_tokens", 0);
  if (digest.empty()) return;
  results.digests++;
  results.digest.update(std::as_bytes(std::span(digest)));
}

std::string listed(const Counts& counts) {
  std::vector<std::string> words;
  for (const auto& [name, count] : counts) words.push_back(fmt::format("{} {}", name, count));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

}  // namespace

int inspect_result(const Options& options) {
  const InputSummary file = survey_input(options.input);
  Results results;
  const auto count = [&](int64_t number, ordered_json& line) {
    if (line.contains("finish_reason"))
      return count_row(results, value_at<std::string>(line, "/finish_reason", ""),
                       value_at<std::string>(line, "/digest", ""), line);
    const ordered_json::json_pointer body("/response/body");
    if (!line.contains(body))
      fail(ExitCode::bad_data,
           "{} line {} is no result: it has neither finish_reason nor response; inspect takes what run wrote, "
           "checkpoints, GGUF files and folders",
           options.input, number);
    count_row(results, value_at<std::string>(line, "/response/body/choices/0/finish_reason", ""),
              value_at<std::string>(line, "/response/body/choices/0/digest", ""), line[body]);
  };
  for_each_json_line(options.input, count, SIZE_MAX);  // a result is longer than its row
  const std::string digest = results.digests ? hex16(results.digest.digest()) : "";
  if (options.json) {
    const ordered_json all = {{"path", options.input},
                              {"kind", "result"},
                              {"bytes", file.bytes},
                              {"xxh3", hex16(file.digest)},
                              {"rows", file.rows},
                              {"finish_reasons", results.finish_reasons},
                              {"errors", results.errors},
                              {"prompt_tokens", results.prompt_tokens},
                              {"completion_tokens", results.completion_tokens},
                              {"digests", results.digests},
                              {"digest", digest}};
    fmt::print("{}\n", all.dump());
    return 0;
  }
  fmt::print("{}: result, {} rows, {} bytes, xxh3 {}\n", options.input, file.rows, file.bytes, hex16(file.digest));
  fmt::print("finish_reason  {}\n", listed(results.finish_reasons));
  fmt::print("errors         {}\n", listed(results.errors));
  fmt::print("tokens         {} in, {} out\n", results.prompt_tokens, results.completion_tokens);
  if (results.digests) fmt::print("digests        {} rows, together {}\n", results.digests, digest);
  return 0;
}

}  // namespace trireme

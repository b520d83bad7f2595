#include "launch/job.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "launch/run_report.h"

namespace trireme {

namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
int64_t unix_seconds() { return static_cast<int64_t>(time(nullptr)); }

int64_t day_of(std::string date) {
  std::erase(date, '-');
  return std::atoll(date.c_str());
}

// An error row's message in quotes, as text of the input may stand in it; in either form of results.
std::string message_of(const std::string& result) {
  const auto json = nlohmann::json::parse(result);
  const nlohmann::json::json_pointer own("/error/message"), batch("/response/body/error/message");
  return json.at(json.contains(own) ? own : batch).dump();
}

// Before anything is made beside it.
const std::string& checked_output(const Options& options) {
  std::error_code error;  // of files that are not there: then they are not the same
  if (std::filesystem::equivalent(options.input, options.output, error))
    fail(ExitCode::usage, "'{}' is the input and the output; choose another output with -o", options.output);
  if (std::filesystem::is_directory(options.output, error))
    fail(ExitCode::cannot_create, "the output '{}' is a folder; name a file in it: -o {}/OUT.jsonl", options.output,
         options.output);
  return options.output;
}

}  // namespace

std::string date_of(int64_t day) {
  return day ? fmt::format("{:04}-{:02}-{:02}", day / 10000, day / 100 % 100, day % 100) : "";
}

Job::Job(const Options& options, const Environment& environment, Log& log)
    : options_(options),
      environment_(environment),
      log_(log),
      folder_(checked_output(options)),
      start_(now_seconds()) {}

void Job::survey() {
  input_ = options_.input == "-" ? folder_.spool_stdin() : options_.input;
  summary_ = survey_input(input_);
  if (!summary_.begins_with_object)
    log_.warn(
        "{} does not look like JSONL: its first row does not begin with {{, and every row gets a result of its "
        "own; for documents that are text files name a folder of .txt and .md files",
        options_.input == "-" ? "standard input" : options_.input);
}

int Job::begin(const Session& session) {
  day_ = day_of_prompts(session);
  const Manifest run = manifest(session);
  switch (folder_.begin(run, options_.restart)) {
    case RunFolder::Start::already_complete: {
      log_.info("{} is complete already; --restart runs it again", options_.output);
      return static_cast<int>(code_of(folder_.status()->value("errors", uint64_t{0})));
    }
    case RunFolder::Start::started_over:
      log_.info("an incomplete run of this manifest was dropped: it starts over");
      break;
    case RunFolder::Start::fresh:
      break;
  }
  if (options_.input == "-") input_ = folder_.path_of_stdin();
  store_.emplace(folder_.part_path());
  ledger_.emplace(Corpus::open(input_), summary_, *store_, xxh3(run.identity.dump()));
  folder_.write_status(Status{.tally = ledger_->tally(), .seconds = seconds()}.to_json(unix_seconds()), Durable::no);
  return -1;
}

// By the bytes of a row: English has about four a token.
Demand Job::demand() const {
  constexpr double kTokenBytes = 4;
  const auto rows = static_cast<double>(std::max<uint64_t>(summary_.rows, 1));
  return {rows, static_cast<double>(summary_.bytes) / rows / kTokenBytes, static_cast<double>(options_.max_tokens)};
}

double Job::seconds() const { return now_seconds() - start_; }

void Job::show(const Engine& engine, int64_t positions, const GpuMonitor& gpu) {
  positions_ = positions;
  const Tally tally = tally_so_far();
  if (log_.shows(LogLevel::info)) progress_.update(tally, seconds());
  if (!folder_.status_due()) return;
  const BlockPool& blocks = engine.scheduler().blocks();
  Status status{.state = "running", .tally = tally, .seconds = seconds()};
  status.ranks = {{{"rank", 0},
                   {"host", environment_.host},
                   {"memory_bytes", memory_bytes()},
                   {"kv_blocks", blocks.total()},
                   {"kv_blocks_used", blocks.total() - blocks.available()},
                   {"preemptions", engine.scheduler().preemptions()}}};
  add_gpu(status.ranks[0], gpu);
  folder_.write_status(status.to_json(unix_seconds()), Durable::no);
}

int Job::finish(const PhaseSeconds& phases, const StepSpeeds& speeds, const nlohmann::ordered_json& ranks) {
  store_->publish(options_.output);
  const Tally& tally = ledger_->tally();
  const ExitCode code = code_of(tally.rows_failed);
  end({.state = "done",
       .tally = tally,
       .seconds = phases.total,
       .exit_code = static_cast<int>(code),
       .phases = phases,
       .speeds = speeds,
       .ranks = ranks});
  if (log_.shows(LogLevel::info)) progress_.finish(summary_text(tally, phases, speeds) + memory_summary(ranks));
  if (const std::string throttling = throttling_text(ranks); !throttling.empty()) log_.warn("{}", throttling);
  if (tally.rows_failed > 0)
    log_.warn("{} of {} rows are errors, the first in line {} of {}: {}", tally.rows_failed, tally.rows_total,
              ledger_->first_error().row + 1, options_.output, message_of(ledger_->first_error().line));
  return static_cast<int>(code);
}

void Job::failed(const Fault& fault) {
  progress_.clear();
  try {
    if (!ledger_ && !folder_.identity().is_null()) return;
    end({.state = "failed",
         .tally = ledger_ ? tally_so_far() : Tally{},
         .seconds = seconds(),
         .exit_code = static_cast<int>(fault.code),
         .message = fault.text});
  } catch (const std::exception& error) {
    log_.warn("status.json does not say why the run failed: {}", error.what());
  }
}

ExitCode Job::code_of(uint64_t errors) const {
  return errors > 0 && !options_.allow_errors ? ExitCode::row_errors : ExitCode::done;
}

Tally Job::tally_so_far() const {
  Tally tally = ledger_->tally();
  tally.positions = positions_;
  return tally;
}

void Job::end(const Status& status) { folder_.write_status(status.to_json(unix_seconds()), Durable::yes); }

// A run that goes on another day keeps the day of its start: the same prompts.
int64_t Job::day_of_prompts(const Session& session) const {
  if (session.source().read_blob("chat_template.jinja").find("strftime_now") == std::string::npos) return 0;
  const nlohmann::json before = folder_.identity();
  const nlohmann::json::json_pointer place("/text/date");
  const bool kept = !options_.restart && before.is_object() && before.contains(place) && before[place].is_string();
  if (kept) return day_of(before[place].get<std::string>());
  return day_of(utc_time(unix_seconds()).substr(0, 10));
}

// What makes two runs the same run: whatever can change a byte of the output, and nothing else.
Manifest Job::manifest(const Session& session) const {
  const SamplingParams p = session.options().sampling();
  Manifest m;
  m.identity = {
      {"version", TRIREME_VERSION},
      {"input",
       {{"kind", summary_.kind}, {"bytes", summary_.bytes}, {"rows", summary_.rows}, {"xxh3", hex16(summary_.digest)}}},
      {"model", {{"digest", session.source().digest()}}},
      {"numerics", session.fingerprint()},
      {"sampling",
       {{"max_tokens", p.max_tokens},
        {"temperature", p.temperature},
        {"top_p", p.top_p},
        {"top_k", p.top_k},
        {"seed", p.seed},
        {"stop", p.stop},
        {"ignore_eos", p.ignore_eos}}},
      {"outputs",
       {{"tokens", options_.tokens},
        {"logprobs", p.logprobs},
        {"prompt_logprobs", p.prompt_logprobs},
        {"digest", p.digest}}},
      {"text", {{"system", hex16(xxh3(options_.system))}, {"instruction", hex16(xxh3(options_.instruction))}}}};
  if (day_) m.identity["text"]["date"] = date_of(day_);
  m.about = {{"input", options_.input},     {"model", session.source().path()}, {"layout", session.layout_text()},
             {"ranks", environment_.ranks}, {"host", environment_.host},        {"started", utc_time(unix_seconds())}};
  return m;
}

}  // namespace trireme

#include <fmt/format.h>
#include <sched.h>

#include <unordered_map>

#include "base/hash.h"
#include "comm/communicator.h"
#include "job/comm_transport.h"
#include "job/dealer.h"
#include "job/document_reader.h"
#include "job/prepare.h"
#include "job/progress.h"
#include "job/result_line.h"
#include "job/result_store.h"
#include "job/run_folder.h"
#include "job/status.h"
#include "launch/commands.h"
#include "launch/model_file.h"
#include "launch/session.h"
#include "launch/together.h"
#include "text/chat_template.h"

namespace trireme {

namespace {

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
int64_t unix_seconds() { return static_cast<int64_t>(time(nullptr)); }

// Rank 0's side of the job: the input, the run folder, the results and what people see of it.
class Job {
 public:
  Job(const Options& options, const Environment& environment) : options_(options), environment_(environment), folder_(options.output) {
    input_ = options.input == "-" ? folder_.spool_stdin() : options.input;
    summary_ = survey_input(input_);
    tally_.rows_total = summary_.rows;
  }

  // Returns the exit code of a run that is complete already, or -1.
  int begin(const Session& session) {
    Manifest manifest;
    const SamplingParams p = options_.sampling();
    manifest.identity = {
        {"version", TRIREME_VERSION},
        {"input", {{"kind", summary_.kind}, {"bytes", summary_.bytes}, {"rows", summary_.rows}, {"xxh3", hex16(summary_.digest)}}},
        {"model", {{"digest", session.checkpoint().digest()}}},
        {"numerics", session.fingerprint()},
        {"sampling", {{"max_tokens", p.max_tokens}, {"temperature", p.temperature}, {"top_p", p.top_p}, {"top_k", p.top_k}, {"seed", p.seed},
                      {"stop", p.stop}, {"ignore_eos", p.ignore_eos}}},
        {"outputs", {{"tokens", options_.tokens}, {"logprobs", p.logprobs}, {"prompt_logprobs", p.prompt_logprobs}, {"digest", p.digest}}},
        {"text", {{"system", hex16(xxh3(text_or_file(options_.system, "--system")))},
                  {"instruction", hex16(xxh3(text_or_file(options_.instruction, "--instruction")))}}}};
    manifest.about = {{"input", options_.input}, {"model", session.checkpoint().path()}, {"layout", session.layout_text()},
                      {"ranks", environment_.ranks}, {"host", environment_.host}, {"started", utc_time(unix_seconds())}};
    switch (folder_.begin(manifest, options_.restart)) {
      case RunFolder::Start::already_complete: {
        log(fmt::format("{} is complete already; --restart runs it again", options_.output));
        const auto status = folder_.status();
        return status ? status->value("exit_code", 0) : 0;
      }
      case RunFolder::Start::started_over: log("an incomplete run of this manifest was dropped: it starts over"); break;
      default: break;
    }
    store_ = std::make_unique<ResultStore>(folder_.part_path());
    reader_ = std::make_unique<DocumentReader>(Corpus::open(input_));
    start_ = now_seconds();
    return -1;
  }

  void log(const std::string& line) {
    if (options_.log_level == "error") return;
    progress_.clear();
    fmt::print(stderr, "{} {}\n", utc_time(unix_seconds()), line);
  }

  // The next document; error rows go to the results on the way.
  std::optional<Document> next() {
    while (auto row = reader_->next()) {
      if (auto* document = std::get_if<Document>(&*row)) return std::move(*document);
      const RowError& error = std::get<RowError>(*row);
      accept({.row = error.header.row, .line = error_line(error), .is_error = true});
    }
    return std::nullopt;
  }

  void accept(FinishedRow row) {
    store_->append(row.row, row.line);
    tally_.rows_done++;
    tally_.rows_failed += row.is_error;
    tally_.prompt_tokens += row.prompt_tokens;
    tally_.completion_tokens += row.completion_tokens;
  }

  void show(const Engine& engine) {
    const double seconds = now_seconds() - start_;
    if (options_.log_level != "error") progress_.update(tally_, seconds);
    Status status{.state = "running", .tally = tally_, .seconds = seconds};
    const BlockPool& blocks = engine.scheduler().blocks();
    status.ranks = {{{"rank", 0}, {"host", environment_.host}, {"memory_bytes", memory_bytes()}, {"kv_blocks", blocks.total()},
                     {"kv_blocks_used", blocks.total() - blocks.available()}}};
    folder_.write_status(status.to_json(unix_seconds()), false);
  }

  // After the last row: the output, the summary, the exit code.
  int finish(const PhaseSeconds& phases, const std::vector<int64_t>& peaks) {
    must(store_->size() == summary_.rows, "every row of the input has a result");
    store_->publish(options_.output);
    const ExitCode code = tally_.rows_failed > 0 && !options_.allow_errors ? ExitCode::row_errors : ExitCode::done;
    Status status{.state = "done", .tally = tally_, .seconds = phases.total, .exit_code = static_cast<int>(code), .phases = phases};
    status.ranks = nlohmann::ordered_json::array();
    for (size_t r = 0; r < peaks.size(); r++) status.ranks.push_back({{"rank", r}, {"peak_memory_bytes", peaks[r]}});
    folder_.write_status(status.to_json(unix_seconds()), true);
    if (options_.log_level != "error") progress_.finish(tally_, phases);
    return static_cast<int>(code);
  }

  void failed(const Error& error) {
    Status status{.state = "failed", .tally = tally_, .seconds = now_seconds() - start_, .exit_code = static_cast<int>(error.code()),
                  .message = error.what()};
    folder_.write_status(status.to_json(unix_seconds()), true);
  }

  double seconds() const { return now_seconds() - start_; }

 private:
  const Options& options_;
  const Environment& environment_;
  RunFolder folder_;
  std::string input_;
  InputSummary summary_;
  std::unique_ptr<ResultStore> store_;
  std::unique_ptr<DocumentReader> reader_;
  Progress progress_ = Progress::to_stderr();
  Tally tally_;
  double start_ = now_seconds();
};

// The leader of a replica: documents in, results out, a step at a time. job: on rank 0.
class Leader {
 public:
  Leader(Session& session, WorkQueue& queue)
      : session_(session), queue_(queue), tokenizer_(session.checkpoint().read_blob("tokenizer.json")) {
    const std::string source = session.checkpoint().read_blob("chat_template.jinja");
    if (!source.empty()) template_.emplace(source);
    const Options& o = session.options();
    preparer_.emplace(session.config(), tokenizer_, template_ ? &*template_ : nullptr,
                      PrepareOptions{text_or_file(o.system, "--system"), text_or_file(o.instruction, "--instruction"), o.sampling()});
    engine_.emplace(session.replica(), session.runner(), tokenizer_, session.config(), session.scheduler_limits());
  }

  // serve: what rank 0 does for the other replicas between steps; returns true when the whole job is done.
  void run(const std::function<bool(const Engine&)>& serve) {
    const int depth = 2 * static_cast<int>(session_.options().max_seqs);  // so that no slot waits for a document
    for (;;) {
      const bool all_done = serve(*engine_);
      for (Document& document : queue_.take(depth - static_cast<int>(engine_->pending()))) submit(document);
      deliver();
      if (engine_->idle() && queue_.drained() && all_done) break;
      const bool idle = engine_->idle();
      engine_->step();
      deliver();
      session_.world().waiter().progress();
      if (idle) sched_yield();
    }
    engine_->stop();
  }

 private:
  void submit(Document& document) {
    auto prepared = preparer_->prepare(document);
    if (auto* error = std::get_if<RowError>(&prepared)) {
      queue_.deliver({.row = error->header.row, .line = error_line(*error), .is_error = true});
      return;
    }
    headers_.emplace(document.header.row, std::move(document.header));
    engine_->submit(std::move(std::get<Request>(prepared)));
  }

  void deliver() {
    for (const Completion& c : engine_->take_finished()) {
      auto header = headers_.extract(c.row);
      queue_.deliver({.row = c.row, .line = result_line(header.mapped(), c, session_.options().tokens), .is_error = !c.error_code.empty(),
                      .prompt_tokens = c.prompt_tokens, .completion_tokens = c.completion_tokens});
    }
  }

  Session& session_;
  WorkQueue& queue_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
  std::optional<Preparer> preparer_;
  std::optional<Engine> engine_;
  std::unordered_map<uint64_t, RowHeader> headers_;
};

// Rank 0 decides (code >= 0: no need to run); all ranks learn it.
int agree_on(Communicator& world, int code) { return static_cast<int>(world.all_max(code)); }

}  // namespace

int run_command(const Options& options, const Environment& environment) {
  Waiter waiter(std::chrono::milliseconds(static_cast<int64_t>(options.deadline_s * 1000)));
  Communicator world = Communicator::world(waiter);
  std::optional<Job> job;
  together(world, [&] {
    if (world.rank() == 0) job.emplace(options, environment);
  });
  const std::string model = checkpoint_of(options.model, world);
  Session session(options, world, model);
  int code = -1;
  together(world, [&] {
    if (job) code = job->begin(session);
  });
  code = agree_on(world, code);
  if (code >= 0) return code;
  try {
    session.load();
    if (job) job->log(session.layout_text() + "; " + session.memory_text());
    CommTransport transport(world);
    if (job) {
      Dealer dealer(transport, session.layout().dp - 1, [&] { return job->next(); }, [&](FinishedRow row) { job->accept(std::move(row)); });
      Leader(session, dealer).run([&](const Engine& engine) {
        dealer.serve();
        job->show(engine);
        return dealer.complete();
      });
    } else if (session.leads_replica()) {
      RemoteWorkQueue queue(transport);
      Leader(session, queue).run([](const Engine&) { return true; });
    } else {
      follow(session.replica(), session.runner());
    }
    const double total = job ? job->seconds() : 0;
    const StepTimes& t = session.runner().times();
    auto mean = [&](double seconds) { return static_cast<double>(world.all_sum(static_cast<int64_t>(seconds * 1e6))) * 1e-6 / world.size(); };
    const PhaseSeconds phases{.total = total, .prefill = mean(t.prefill), .decode = mean(t.decode), .communication = mean(t.communication), .waiting = mean(t.waiting)};
    std::vector<int64_t> peaks;
    const int64_t peak = peak_memory_bytes();
    for (const auto& bytes : world.all_gather(std::as_bytes(std::span(&peak, 1)))) std::memcpy(&peaks.emplace_back(), bytes.data(), sizeof peak);
    world.flush();
    code = 0;
    together(world, [&] {
      if (job) code = job->finish(phases, peaks);
    });
    return agree_on(world, code);
  } catch (const Error& error) {
    if (job) job->failed(error);
    throw;
  }
}

}  // namespace trireme

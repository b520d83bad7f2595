#include <fmt/format.h>
#include <sched.h>

#include <filesystem>

#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"
#include "job/comm_transport.h"
#include "job/dealer.h"
#include "job/ledger.h"
#include "job/prepare.h"
#include "job/progress.h"
#include "job/replica_rows.h"
#include "job/result_store.h"
#include "job/run_folder.h"
#include "job/signs_of_life.h"
#include "job/status.h"
#include "launch/commands.h"
#include "launch/model_file.h"
#include "launch/session.h"
#include "launch/together.h"
#include "text/chat_template.h"
#include "topology/gpu_monitor.h"

namespace trireme {

namespace {

// Counting the input's rows, converting a model, loading it from a slow file system and writing the output in order:
// some ranks wait for others that are busy. --deadline-s bounds all between, from the first step to the last.
constexpr std::chrono::hours kSetUpDeadline{2};

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
int64_t unix_seconds() { return static_cast<int64_t>(time(nullptr)); }

// A day as one number, so that rank 0 can tell it to all: 20261127; 0 is none, and "" in words.
int64_t day_of(std::string date) {
  std::erase(date, '-');
  return std::atoll(date.c_str());
}
std::string date_of(int64_t day) {
  return day ? fmt::format("{:04}-{:02}-{:02}", day / 10000, day / 100 % 100, day % 100) : "";
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

// To what a rank says of itself, where there is something to say.
void add_gpu(nlohmann::ordered_json& rank, const GpuMonitor& gpu) {
  if (auto report = gpu.report()) rank["gpu"] = *std::move(report);
}

// Rank 0's side of a job: the input, the run folder, the results and what people see of it.
class Job {
 public:
  Job(const Options& options, const Environment& environment, Log& log)
      : options_(options), environment_(environment), log_(log), folder_(checked_output(options)) {
    input_ = options.input == "-" ? folder_.spool_stdin() : options.input;
    summary_ = survey_input(input_);
    if (!summary_.begins_with_object)
      log.warn(
          "{} does not look like JSONL: its first row does not begin with {{, and every row gets a result of its "
          "own; for documents that are text files name a folder of .txt and .md files",
          options.input == "-" ? "standard input" : options.input);
  }

  // Returns the exit code of a run that is complete already, or -1.
  int begin(const Session& session) {
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
      default:
        break;
    }
    if (options_.input == "-") input_ = folder_.path_of_stdin();
    store_.emplace(folder_.part_path());
    ledger_.emplace(Corpus::open(input_), summary_.rows, *store_, xxh3(run.identity.dump()));
    folder_.write_status(Status{.tally = ledger_->tally(), .seconds = seconds()}.to_json(unix_seconds()), Durable::no);
    return -1;
  }

  Ledger& ledger() { return *ledger_; }
  double seconds() const { return now_seconds() - start_; }
  int64_t day() const { return day_; }  // that the chat template is told; 0: it does not ask

  // Where the run stands, for people and for status.json; cheap to call every step. positions: of all replicas; gpu:
  // this rank's.
  void show(const Engine& engine, int64_t positions, const GpuMonitor& gpu) {
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

  // After the last row: the output, the summary, the exit code. ranks: what each of them says of itself.
  int finish(const PhaseSeconds& phases, const nlohmann::ordered_json& ranks) {
    store_->publish(options_.output);
    const Tally& tally = ledger_->tally();
    const ExitCode code = code_of(tally.rows_failed);
    end({.state = "done",
         .tally = tally,
         .seconds = phases.total,
         .exit_code = static_cast<int>(code),
         .phases = phases,
         .ranks = ranks});
    if (log_.shows(LogLevel::info)) progress_.finish(tally, phases);
    if (const std::string throttling = throttling_text(ranks); !throttling.empty()) log_.warn("{}", throttling);
    if (tally.rows_failed > 0)
      log_.warn("{} of {} rows are errors, the first in line {} of {}: {}", tally.rows_failed, tally.rows_total,
                ledger_->first_error().row + 1, options_.output, message_of(ledger_->first_error().line));
    return static_cast<int>(code);
  }

  // Before begin() the folder may hold another run, whose status stays.
  void failed(const Fault& fault) {
    if (!ledger_ && !folder_.identity().is_null()) return;
    end({.state = "failed",
         .tally = ledger_ ? tally_so_far() : Tally{},
         .seconds = seconds(),
         .exit_code = static_cast<int>(fault.code),
         .message = fault.text});
  }

 private:
  ExitCode code_of(uint64_t errors) const {
    return errors > 0 && !options_.allow_errors ? ExitCode::row_errors : ExitCode::done;
  }

  Tally tally_so_far() const {
    Tally tally = ledger_->tally();
    tally.positions = positions_;
    return tally;
  }

  void end(const Status& status) { folder_.write_status(status.to_json(unix_seconds()), Durable::yes); }

  // A run that goes on another day keeps the day of its start: the same prompts.
  int64_t day_of_prompts(const Session& session) const {
    if (session.source().read_blob("chat_template.jinja").find("strftime_now") == std::string::npos) return 0;
    const nlohmann::json before = folder_.identity();
    const nlohmann::json::json_pointer place("/text/date");
    const bool kept = !options_.restart && before.is_object() && before.contains(place) && before[place].is_string();
    if (kept) return day_of(before[place].get<std::string>());
    return day_of(utc_time(unix_seconds()).substr(0, 10));
  }

  // What makes two runs the same run: whatever can change a byte of the output, and nothing else.
  Manifest manifest(const Session& session) const {
    const SamplingParams p = session.options().sampling();
    Manifest m;
    m.identity = {{"version", TRIREME_VERSION},
                  {"input",
                   {{"kind", summary_.kind},
                    {"bytes", summary_.bytes},
                    {"rows", summary_.rows},
                    {"xxh3", hex16(summary_.digest)}}},
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
                  {"text",
                   {{"system", hex16(xxh3(text_or_file(options_.system, "--system")))},
                    {"instruction", hex16(xxh3(text_or_file(options_.instruction, "--instruction")))}}}};
    if (day_) m.identity["text"]["date"] = date_of(day_);
    m.about = {{"input", options_.input},         {"model", session.source().path()},
               {"layout", session.layout_text()}, {"ranks", environment_.ranks},
               {"host", environment_.host},       {"started", utc_time(unix_seconds())}};
    return m;
  }

  const Options& options_;
  const Environment& environment_;
  Log& log_;
  RunFolder folder_;
  std::string input_;
  InputSummary summary_;
  int64_t day_ = 0;
  int64_t positions_ = 0;  // run through the model so far, by all replicas
  std::optional<ResultStore> store_;
  std::optional<Ledger> ledger_;
  Progress progress_ = Progress::to_stderr(log_);
  double start_ = now_seconds();
};

// The leader of a replica: documents in, results out, a step at a time. serve: what rank 0 does for the whole job
// beside a step; true when nothing is left to do anywhere.
void lead(Session& session, WorkQueue& queue, SignsOfLife& signs, int64_t day,
          const std::function<bool(const Engine&)>& serve) {
  const Options& options = session.options();
  const Tokenizer tokenizer(session.source().read_blob("tokenizer.json"));
  const std::string source = session.source().read_blob("chat_template.jinja");
  std::optional<ChatTemplate> chat_template;
  if (!source.empty()) chat_template.emplace(source);
  const Preparer preparer(session.config(), tokenizer, chat_template ? &*chat_template : nullptr,
                          {text_or_file(options.system, "--system"), text_or_file(options.instruction, "--instruction"),
                           options.sampling(), date_of(day)});
  ReplicaRows rows(
      queue, [&](const Document& document) { return preparer.prepare(document); },
      {.with_token_ids = options.tokens, .token_bytes = [&](int32_t id) { return tokenizer.token_bytes(id); }});
  Engine engine(session.replica(), session.runner(), &tokenizer, session.config(), session.scheduler_limits());

  const int depth = 2 * static_cast<int>(options.max_seqs);  // so that no slot waits for a document
  for (bool done = false; !done;) {
    const bool idle = engine.idle();
    engine.step([&] {
      for (const Completion& completion : engine.take_finished()) rows.finish(completion);
      signs.exchange(session.runner().times().tokens());
      done = serve(engine);
      for (Request& request : rows.take(depth)) engine.submit(std::move(request));
    });
    done = done && engine.idle() && rows.drained();
    session.world().waiter().progress();
    if (idle) sched_yield();
  }
  engine.stop();
}

// Who speaks with this rank about documents: rank 0 with the leaders of the other replicas.
std::vector<int> other_leaders(const Session& session) {
  if (session.here().dp > 0) return {0};
  std::vector<int> leaders;
  for (int dp = 1; dp < session.layout().dp; dp++) leaders.push_back(session.layout().rank_at({0, 0, dp}));
  return leaders;
}

void work(Session& session, Job* job, int64_t day, const GpuMonitor& gpu) {
  CommTransport transport(session.world());
  // Twice the deadline of a wait: a leader whose own replica is stuck says so first.
  SignsOfLife signs(transport, other_leaders(session), 2 * session.world().waiter().deadline());
  if (job) {
    Dealer dealer(
        transport, session.layout().dp - 1, [&] { return job->ledger().next(); },
        [&](FinishedRow row) { job->ledger().accept(std::move(row)); });
    lead(session, dealer, signs, day, [&](const Engine& engine) {
      dealer.serve();
      job->show(engine, session.runner().times().tokens() + signs.positions_elsewhere(), gpu);
      return dealer.complete();
    });
    signs.leave();
  } else if (session.leads_replica()) {
    RemoteWorkQueue queue(transport);
    // It stays until rank 0 has the results of all: signs of life tell the others' long documents from a lost rank.
    lead(session, queue, signs, day, [&](const Engine&) { return signs.over(); });
  } else {
    follow(session.replica(), session.runner());
  }
  session.world().flush();
}

// The mean over all ranks of where their time went.
PhaseSeconds mean_phases(Session& session, double total) {
  Communicator& world = session.world();
  const StepTimes& t = session.runner().times();
  auto mean = [&](double seconds) {
    return static_cast<double>(world.all_sum(static_cast<int64_t>(seconds * 1e6))) * 1e-6 / world.size();
  };
  return {.total = total,
          .prefill = mean(t.prefill),
          .decode = mean(t.decode),
          .communication = mean(t.communication),
          .waiting = mean(t.waiting)};
}

nlohmann::ordered_json all_ranks(Session& session, const Environment& environment, const GpuMonitor& gpu) {
  Communicator& world = session.world();
  nlohmann::ordered_json me = {
      {"rank", world.rank()}, {"host", environment.host}, {"peak_memory_bytes", peak_memory_bytes()}};
  add_gpu(me, gpu);
  if (auto motion = session.motion().report(); !motion.is_null()) me["motion"] = std::move(motion);
  const std::string mine = me.dump();
  auto ranks = nlohmann::ordered_json::array();
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine))))
    ranks.push_back(
        nlohmann::ordered_json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  return ranks;
}

// Rank 0 decides (code >= 0: no need to run); all ranks learn it.
int agree_on(Communicator& world, int code) { return static_cast<int>(world.all_max(code)); }

}  // namespace

int run_command(const Options& options, const Environment& environment) {
  if (options.model.empty()) fail(ExitCode::usage, "no model was named; add -m MODEL");
  if (options.output.empty()) fail(ExitCode::usage, "no output was named; add -o OUT.jsonl");
  Waiter waiter(kSetUpDeadline);
  Communicator world = Communicator::world(waiter);
  Log log(options.log_level, world.rank());
  std::optional<Job> job;
  together(world, [&] {
    if (world.rank() == 0) job.emplace(options, environment, log);
  });
  try {
    Session session(options, world, std::make_unique<Checkpoint>(checkpoint_of(options.model, world, log)));
    int code = -1;
    together(world, [&] {
      if (job) code = job->begin(session);
    });
    code = agree_on(world, code);
    if (code >= 0) return code;
    const int64_t day = world.all_max(job ? job->day() : 0);
    session.load(log);
    log.info("{}; {}", session.layout_text(), session.memory_text());
    for (const std::string& text : session.gpu_memory_texts()) log.info("{}", text);
    if (!session.numerics_remark().empty()) log.warn("{}", session.numerics_remark());
    session.motion().say(log);
    const SamplingDefaults& defaults = session.sampling_defaults();
    if (!defaults.taken.empty()) log.info("from generation_config.json: {}", defaults.taken);
    if (!defaults.left_out.empty())
      log.warn("generation_config.json asks for {}, which this version leaves out", defaults.left_out);
    PhaseSeconds phases;
    nlohmann::ordered_json ranks;
    {
      const TemporaryDeadline steps(waiter, std::chrono::milliseconds(static_cast<int64_t>(options.deadline_s * 1000)));
      GpuMonitor gpu(session.gpu_uuid());
      work(session, job ? &*job : nullptr, day, gpu);
      gpu.stop();
      phases = mean_phases(session, job ? job->seconds() : 0);
      ranks = all_ranks(session, environment, gpu);
    }
    together(world, [&] {
      if (job) code = job->finish(phases, ranks);
    });
    return agree_on(world, code);
  } catch (...) {
    if (job) job->failed(Fault::current());
    throw;
  }
}

}  // namespace trireme

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "comm/communicator.h"
#include "job/comm_transport.h"
#include "job/dealer.h"
#include "job/prepare.h"
#include "job/replica_rows.h"
#include "job/signs_of_life.h"
#include "launch/commands.h"
#include "launch/fault_note.h"
#include "launch/job.h"
#include "launch/model_file.h"
#include "launch/run_report.h"
#include "launch/session.h"
#include "launch/together.h"
#include "text/chat_template.h"
#include "topology/gpu_monitor.h"

namespace trireme {

namespace {

// Counting the input's rows, converting a model, loading it from a slow file system and writing the output in order:
// some ranks wait for others that are busy. --deadline-s bounds all between, from the first step to the last, and these
// where it is longer.
constexpr std::chrono::milliseconds kSetUpDeadline = std::chrono::hours(2);

// The leader of a replica: documents in, results out, a step at a time. serve: what rank 0 does for the whole job
// beside a step; true when nothing is left to do anywhere. Returns what steps took.
Pace lead(Session& session, WorkQueue& queue, SignsOfLife& signs, int64_t day,
          const std::function<bool(const Engine&)>& serve) {
  const Options& options = session.options();
  const Tokenizer tokenizer(session.source().read_blob("tokenizer.json"));
  const std::string source = session.source().read_blob("chat_template.jinja");
  std::optional<ChatTemplate> chat_template;
  if (!source.empty()) chat_template.emplace(source);
  const Preparer preparer(session.config(), tokenizer, chat_template ? &*chat_template : nullptr,
                          {options.system, options.instruction, options.sampling(), date_of(day)});
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
  return engine.pace();
}

// Who speaks with this rank about documents: rank 0 with the leaders of the other replicas.
std::vector<int> other_leaders(const Session& session) {
  if (session.here().dp > 0) return {0};
  std::vector<int> leaders;
  for (int dp = 1; dp < session.layout().dp; dp++) leaders.push_back(session.layout().rank_at({0, 0, dp}));
  return leaders;
}

// Returns what the steps of this rank's replica took, where it leads it.
Pace work(Session& session, Job* job, int64_t day, const GpuMonitor& gpu) {
  Pace pace;
  CommTransport transport(session.world());
  // Twice the deadline of a wait: a leader whose own replica is stuck says so first.
  SignsOfLife signs(transport, other_leaders(session), 2 * session.world().waiter().deadline());
  if (job) {
    Dealer dealer(
        transport, session.layout().dp - 1, [&] { return job->ledger().next(); },
        [&](FinishedRow row) { job->ledger().accept(std::move(row)); });
    pace = lead(session, dealer, signs, day, [&](const Engine& engine) {
      dealer.serve();
      job->show(engine, session.runner().times().tokens() + signs.positions_elsewhere(), gpu);
      return dealer.complete();
    });
    signs.leave();
  } else if (session.leads_replica()) {
    RemoteWorkQueue queue(transport);
    // It stays until rank 0 has the results of all: signs of life tell the others' long documents from a lost rank.
    pace = lead(session, queue, signs, day, [&](const Engine&) { return signs.over(); });
  } else {
    follow(session.replica(), session.runner());
  }
  session.world().flush();
  return pace;
}

// Rank 0 decides (code >= 0: no need to run); all ranks learn it.
int agree_on(Communicator& world, int code) { return static_cast<int>(world.all_max(code)); }

}  // namespace

int run_command(const Options& given, const Environment& environment) {
  if (given.model.empty()) fail(ExitCode::usage, "no model was named; add -m MODEL");
  if (given.output.empty()) fail(ExitCode::usage, "no output was named; add -o OUT.jsonl");
  FaultNote note(given.output, environment);
  Waiter waiter(std::max(kSetUpDeadline, given.deadline()));
  waiter.end_by([&note](int code, const std::string& said) {
    note.leave({static_cast<ExitCode>(code), said});
    MpiSession::abort(code);
  });
  Communicator world = Communicator::world(waiter);
  Log log(given.log_level, world.rank());
  Options options = given;
  std::optional<Job> job;
  together(world, [&] {
    if (world.rank() == 0) job.emplace(options, environment, log);
  });
  try {
    together(world, [&] {
      options = with_texts(given);
      if (job) job->survey();
    });
    Session session(options, world, open_checkpoint(checkpoint_of(options.model, world, log), world),
                    job ? job->demand() : std::optional<Demand>());
    int code = -1;
    together(world, [&] {
      if (job) code = job->begin(session);
    });
    code = agree_on(world, code);
    if (code >= 0) return code;
    note.begin();
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
    StepSpeeds speeds;
    nlohmann::ordered_json ranks;
    {
      const TemporaryDeadline steps(waiter, options.deadline());
      GpuMonitor gpu(session.gpu_uuid());
      speeds = speeds_of(session, work(session, job ? &*job : nullptr, day, gpu));
      gpu.stop();
      if (!session.graphs_refused().empty()) log.warn("{}", session.graphs_refused());
      phases = mean_phases(session, job ? job->seconds() : 0);
      ranks = all_ranks(session, environment, gpu);
    }
    together(world, [&] {
      if (job) code = job->finish(phases, speeds, ranks);
    });
    return agree_on(world, code);
  } catch (...) {
    const Fault fault = Fault::current();
    job ? job->failed(fault) : note.leave(fault);
    throw;
  }
}

}  // namespace trireme

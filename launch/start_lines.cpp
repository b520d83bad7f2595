#include "launch/start_lines.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "launch/commands.h"
#include "launch/option_table.h"
#include "plan/own_memory.h"
#include "plan/reasons.h"

namespace trireme {

namespace {

// What a line of -m names, and what a line before it makes of it.
struct StartModel {
  std::string path, convert;
};

// A checkpoint is not converted again, but what it was made of.
StartModel start_model(const PlannedModel& planned, const Options& o) {
  const std::string model = o.model.empty() ? "MODEL" : o.model;
  if (!planned.convert_to) return {model, ""};
  std::filesystem::path path(model);
  if (!path.has_filename()) path = path.parent_path();  // a folder
  const std::string name = path.extension() == ".h5" || path.extension() == ".gguf" ? path.stem() : path.filename();
  const std::string precision = precision_name(*planned.convert_to);
  const std::string converted = fmt::format("{}-{}.h5", name, precision);
  return {converted,
          fmt::format("trireme convert {} -o {} --dtype {}", path.extension() == ".h5" ? "SOURCE" : shell_word(model),
                      shell_word(converted), precision)};
}

// --max-seqs. At a rate as many run as a mean, of what come at random (Poisson): three times the root more are seldom
// passed. Where nobody says how many, CPUs get a run's default at most: engines of other profiles may keep thousands in
// flight, this one gains nothing by them.
int64_t sequences_to_start(const LayoutPlan& l, const Cluster& c, const PlanRequest& r) {
  const double most = find_option("max-seqs", kRun)->high;
  const double more = r.rate > 0 ? 3 * std::sqrt(l.performance.running) : 0;
  const double running = std::min(std::ceil(l.performance.running + more), l.max_sequences);
  const double planned = std::clamp(r.batch > 0 ? r.batch : running, 1.0, most);
  if (!c.device.cpu || r.batch > 0 || r.rate > 0) return static_cast<int64_t>(planned);
  return std::min(static_cast<int64_t>(planned), default_sequences(!c.device.cpu));
}

std::string run_line(const LayoutPlan& l, const std::string& model, const Cluster& c, const Options& o,
                     const PlanRequest& r) {
  std::string line =
      fmt::format("trireme run INPUT -m {} -o OUT.jsonl --tp {} --pp {} --dp {}", shell_word(model), l.tp, l.pp, l.dp);
  if (is_refused(l.link)) line += " --allow-slow-placement";
  if (!c.device.cpu) line += " --device cuda";
  line += fmt::format(" --max-seqs {}", sequences_to_start(l, c, r));
  if (o.output_len > 0) line += fmt::format(" --max-tokens {}", o.output_len);
  return line;
}

}  // namespace

std::string shell_word(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./,:=@%+").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) return word;
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::vector<std::string> start_lines(const LayoutPlan& l, const PlannedModel& planned, const Cluster& c,
                                     const Options& o, const PlanRequest& r) {
  const StartModel model = start_model(planned, o);
  const std::string run = run_line(l, model.path, c, o, r);
  const int of_host = c.cores > 0 ? (l.devices() + c.hosts - 1) / c.hosts : c.devices;  // cores are divided evenly
  const int hosts = (l.devices() + of_host - 1) / of_host, per_host = std::min(l.devices(), of_host);
  // Of a rank; left to itself, Open MPI binds a rank to one.
  const int cores = c.cores > 0 ? c.cores / of_host : c.device.cpu ? c.device.cores : 0;
  const std::string of_task = c.device.cpu && cores > 0 ? fmt::format("--cpus-per-task={} ", cores) : "";
  const std::string share = c.device.cpu ? of_task : fmt::format("--gpus-per-node={} ", per_host);
  std::vector<std::string> lines;
  if (!model.convert.empty()) lines.push_back(model.convert);
  lines.push_back(fmt::format("mpirun -n {} --map-by ppr:{}:node{} {}", l.devices(), per_host,
                              cores > 0 ? fmt::format(":PE={}", cores) : "", run));
  // Since Slurm 22.05 srun does not take the batch job's CPUs of a task over.
  const std::string step = fmt::format("srun --mpi=pmix --kill-on-bad-exit=1 {}{}", of_task, run);
  lines.push_back(fmt::format("sbatch --nodes={} --ntasks={} --ntasks-per-node={} {}--wrap {}", hosts, l.devices(),
                              per_host, share, shell_word(step)));
  return lines;
}

}  // namespace trireme

#include "launch/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "launch/alike.h"
#include "launch/build_commit.h"
#include "launch/environment.h"
#include "launch/gather_machine.h"
#include "launch/handshake.h"
#include "launch/slurm_limits.h"
#include "launch/together.h"
#include "topology/adapters.h"
#include "topology/nearest.h"
#include "topology/threads.h"

namespace trireme {

namespace {

constexpr int kNumericsRevision = 8;        // raised whenever a change of ours changes bits
constexpr int64_t kUsefulPositions = 2048;  // a layout whose cache holds fewer does not fit

// A driver that nobody has used starts its GPUs one after the other: some seconds each.
constexpr std::chrono::milliseconds kOpeningGpu{60'000};

const char* name_of(Numerics numerics) {
  constexpr const char* kNames[] = {"exact", "standard", "fast"};
  return kNames[static_cast<size_t>(numerics)];
}

// Ranks may share one.
int count_gpus(const Machine& machine) {
  int gpus = 0;
  for (int r = 0; r < std::ssize(machine.ranks); r++) gpus += machine.sharing_memory_with(r).front() == r;
  return gpus;
}

}  // namespace

Session::Session(const Options& options, Communicator& world, std::unique_ptr<WeightSource> source,
                 const std::optional<Demand>& demand)
    : options_(options),
      world_(world),
      fabric_(Fabric::create(world)),
      source_(std::move(source)),
      sampling_defaults_(
          SamplingDefaults::apply(source_->read_blob("generation_config.json"), source_->path(), &options_)),
      config_(ModelConfig::from_json(source_->config(), source_->path())),
      units_(UnitTable::of(config_, row_parallel_group(*source_))),
      numerics_(options.numerics == "exact" ? Numerics::exact : Numerics::standard) {
  if (source_->unit_formula() != kUnitFormulaVersion)
    fail(ExitCode::bad_data, "{}: cut into units by formula {}, this program reads {}; convert the model again",
         source_->path(), source_->unit_formula(), kUnitFormulaVersion);
  check_alike();
  limits_ = step_limits(options_.max_step_tokens, options_.device == "cuda");
  choose_layout(demand);
  choose_kernels();
}

void Session::load(Log& log) {
  if (!gpu_ && !cpus_.empty()) stay_on(std::span(cpus_).first(1));  // from where messages are sent in a run, too
  prove_links(world_, *fabric_, options_, gpu_, layout_, machine_, log);
  if (!gpu_) stay_on(near_cpus_);  // its own memory is touched first by this thread and the reader's
  together(world_, [this] {
    CpuDevice unpinned(1, {});  // the reader's thread would inherit this thread's one CPU
    Device& holder = gpu_ ? static_cast<Device&>(*gpu_) : unpinned;
    weights_ = std::make_unique<StageWeights>(*source_, config_, units_, place_, packing(), holder);
  });
  together(world_, [this] {
    if (!gpu_) device_ = std::make_unique<CpuDevice>(threads_, cpus_);
  });
  build_motion();
  together(world_, [this] {  // all weights are where they belong, and NCCL has taken what it takes
    if (gpu_) gpu_free_bytes_ = gpu_->available_bytes();
  });
  agree_on_cache();
  // No sequence gets past the cache.
  rope_positions_ = std::min(config_.max_positions, kv_blocks_ * kBlockTokens);
  together(world_, [this] {
    for (const RopeConfig& rope : config_.ropes) ropes_.emplace_back(rope, rope_positions_).move_to(*device_);
  });
  build_stage();
}

// Ranks may be started by several command lines, on hosts with other files and environments. What is equal here makes
// equal layouts and, with the kernels that all agree on, equal fingerprints.
void Session::check_alike() const {
  nlohmann::ordered_json mine = {{"host", Environment::read().host},
                                 {"program", fmt::format("{} ({})", TRIREME_VERSION, kBuildCommit)},
                                 {"model", source_->digest()}};
  mine.update(option_traits(options_));
  const std::string text = mine.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::vector<nlohmann::ordered_json> ranks;
  for (const std::vector<std::byte>& bytes : world_.all_gather(std::as_bytes(std::span(text))))
    ranks.push_back(
        nlohmann::ordered_json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  if (const std::string difference = first_difference(ranks); !difference.empty())
    fail(ExitCode::configuration, "{}; give all ranks the same program, model and options", difference);
}

// The map of the machine from every rank's probe.
Machine Session::gather_machine(RankProbe probe) const {
  probe.rank.domain = fabric_->domain();
  if (gpu_) {
    probe.rank.gpu = gpu_of_digits(gpu_->uuid(), probe.rank.visible_gpus);
    probe.rank.gpu_available_bytes = gpu_free_bytes_;
  }
  return trireme::gather_machine(world_, std::move(probe));
}

// The ranks of a host take the GPUs that they see: the nearest or, where the driver shows none, one after the other.
void Session::open_gpu(const Machine& machine) {
  const int host = machine.host_of[static_cast<size_t>(world_.rank())];
  const std::vector<int> here = machine.ranks_on(host);
  const auto place = std::find(here.begin(), here.end(), world_.rank()) - here.begin();
  const bool shown = !machine.ranks[static_cast<size_t>(world_.rank())].visible_gpus.empty();
  const int index = shown ? nearest_gpus(machine, host)[static_cast<size_t>(place)] : static_cast<int>(place);
  const std::chrono::milliseconds wait = options_.deadline();
  together(world_, [&] {
    const BoundedCall call("a GPU to be opened", std::max(wait, kOpeningGpu), world_.waiter().end(), ExitCode::stuck,
                           "its driver is stuck");
    const int gpus = std::max(1, probe_cuda().gpus);
    auto gpu = CudaDevice::open(index % gpus, wait, options_.cuda_graphs == "on", world_.waiter().end(),
                                Environment::read().early_start());
    gpu_ = gpu.get();
    device_ = std::move(gpu);
  });
  kernels_ = gpu_->kernels();
  if (kernels_.level.starts_with("cuda-sm_90") && !kernels_.warpgroups)
    numerics_remark_ = fmt::format(
        "{} adds in another order by wgmma than by mma.sync, which multiplies prompts then, too: slower in BF16 and "
        "FP16, the bits stay the same",
        gpu_->name());
  if (options_.numerics == "fast") take_fast_kernels();
  together(world_, [&] { gpu_free_bytes_ = gpu_->available_bytes(); });
}

// On all ranks or on none.
void Session::take_fast_kernels() {
  std::string missing;
  const Kernels* fast = nullptr;
  together(world_, [&] { fast = gpu_->fast_kernels(options_.library_prefixes, missing); });
  const std::vector<std::vector<std::byte>> all = world_.all_gather(std::as_bytes(std::span(missing)));
  const auto lacking = std::find_if(all.begin(), all.end(), [](const auto& reason) { return !reason.empty(); });
  if (lacking == all.end()) {
    numerics_ = Numerics::fast;
    kernels_ = *fast;
    return;
  }
  if (world_.rank() != 0) return;
  numerics_remark_ = fmt::format("--numerics fast needs cuBLASLt, and rank {} has none: {}; computing as standard",
                                 lacking - all.begin(),
                                 std::string_view(reinterpret_cast<const char*>(lacking->data()), lacking->size()));
}

// One host counts its chips by their PCI addresses.
std::vector<std::string> Session::gather_chips(const Machine& machine) const {
  const std::string mine = fmt::format("{}/{}", machine.host_of[static_cast<size_t>(world_.rank())], gpu_->chip());
  std::vector<std::string> chips;
  for (const auto& bytes : world_.all_gather(std::as_bytes(std::span(mine))))
    chips.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return chips;
}

// The map of the machine and this rank's place on it.
void Session::choose_layout(const std::optional<Demand>& demand) {
  const RankProbe probe = probe_here(Environment::read());
  machine_ = gather_machine(probe);
  if (options_.device == "cuda") {
    open_gpu(machine_);
    machine_ = gather_machine(probe);
    gpu_ranks_ = static_cast<int>(machine_.sharing_memory_with(world_.rank()).size());
    gpus_ = count_gpus(machine_);
    chips_ = gather_chips(machine_);
  }

  const std::vector<int> split(options_.stage_split.begin(), options_.stage_split.end());
  const int pp = split.empty() ? static_cast<int>(options_.pp) : static_cast<int>(split.size());
  if (const int sum = std::accumulate(split.begin(), split.end(), 0); !split.empty() && sum != config_.num_layers)
    fail(ExitCode::configuration,
         "--stage-split {}: {} layers in {} stages, the model has {}: make the numbers add up to it",
         fmt::join(split, ","), sum, split.size(), config_.num_layers);
  const int threads = static_cast<int>(options_.threads);
  const Links links(machine_, threads);
  const LayoutWish wish{{static_cast<int>(options_.tp), pp, static_cast<int>(options_.dp)},
                        options_.allow_slow_placement};
  const std::vector<Degrees> choices = possible_layouts(machine_, links, model_need(), wish);
  std::string why;
  layout_ = place(machine_, links, choose_degrees(choices, demand, why), config_.num_layers);
  if (!why.empty()) layout_.remarks.insert(layout_.remarks.begin(), std::move(why));
  for (std::string& remark : far_adapters(machine_, links, layout_, threads))
    layout_.remarks.push_back(std::move(remark));
  check_adapters(world_, options_, gpu_ != nullptr, machine_, links, layout_);

  const ThreadPlan plan = thread_plan(machine_, world_.rank(), threads);
  threads_ = plan.threads;
  cpus_ = plan.cpus;
  near_cpus_ = cpus_near(machine_, world_.rank(), plan);
  available_bytes_ = machine_.available_bytes(world_.rank());

  const std::vector<int> borders = layer_borders(config_.num_layers, layout_.pp, split);
  const size_t stage = static_cast<size_t>(here().pp);
  place_ = {layout_.tp, here().tp, borders[stage], borders[stage + 1], here().pp == 0, here().pp + 1 == layout_.pp};
}

// Rank 0 chooses, for all, and says why: its planner's best, or the smallest where that knows nothing of the machine.
Degrees Session::choose_degrees(const std::vector<Degrees>& choices, const std::optional<Demand>& demand,
                                std::string& why) {
  int64_t choice = 0;
  together(world_, [&] {
    if (world_.rank() != 0 || (choices.size() == 1 && !demand)) return;
    std::string remark;
    forecast_ = Forecast::make(*source_, config_, machine_, options_, demand.value_or(Demand{}), remark);
    if (choices.size() == 1) return;
    if (forecast_)
      choice = static_cast<int64_t>(forecast_->choose(choices, why));
    else
      why = fmt::format("auto layout: the smallest of {} that fit", choices.size());
    if (!remark.empty()) why += "; " + remark;
  });
  return choices[static_cast<size_t>(world_.all_max(choice))];
}

ModelNeed Session::model_need() const {
  const StagePlace layer{1, 0, 0, 1, false, false}, first{1, 0, 0, 0, true, false}, last{1, 0, 0, 0, false, true};
  auto bytes = [this](const StagePlace& place) {
    return StageWeights::packed_bytes_of(*source_, config_, units_, place, packing());
  };
  ModelNeed need;
  need.num_layers = config_.num_layers;
  need.stage_split.assign(options_.stage_split.begin(), options_.stage_split.end());
  need.max_tp = std::min(units_.attention_units, units_.mlp_units);
  need.layer_bytes = bytes(layer);
  need.embedding_bytes = bytes(first);
  need.head_bytes = bytes(last);
  need.tied = config_.tie_word_embeddings;
  need.kv_layer_bytes =
      KvCache::block_bytes(config_.num_kv_heads, config_.head_dim, kv_type()) * kUsefulPositions / kBlockTokens;
  need.rank_bytes = kRankBytes;
  return need;
}

// The GPU's, or the highest kernel level that every rank has, so that all compute the same bits.
void Session::choose_kernels() {
  if (gpu_) {
    if (options_.level != "auto")
      fail(ExitCode::configuration, "--level {} is of CPUs, --device cuda computes on GPUs; leave one of them out",
           options_.level);
    check_gpu_limits();
    check_equal_gpus();
    host_kernels_ = select_kernels("reference");
  } else {
    choose_level();
    host_kernels_ = kernels_;
  }
  fingerprint_ = fmt::format("numerics {} {} kernels {} units {} x {}/{}/{}/{}", kNumericsRevision, name_of(numerics_),
                             kernels_.level, kUnitFormulaVersion, units_.heads_per_unit, units_.columns_per_unit,
                             units_.rows_per_unit, units_.hidden_unit_columns);
}

void Session::choose_level() {
  const auto levels = available_levels();
  int64_t level = std::ssize(levels) - 1;
  together(world_, [&] {
    if (options_.level == "auto") return;
    const auto wanted = std::find(levels.begin(), levels.end(), options_.level);
    if (wanted == levels.end())
      fail(ExitCode::configuration, "--level {}: the CPU of rank {} on {} has {}; leave it out to use the best",
           options_.level, world_.rank(), Environment::read().host, fmt::join(levels, ", "));
    level = wanted - levels.begin();
  });
  kernels_ = select_kernels(levels[static_cast<size_t>(world_.all_min(level))]);
}

// Tensor cores of another architecture may add in another order.
void Session::check_equal_gpus() {
  const std::vector<std::vector<std::byte>> levels = world_.all_gather(std::as_bytes(std::span(kernels_.level)));
  for (size_t r = 0; r < levels.size(); r++) {
    const std::string_view theirs(reinterpret_cast<const char*>(levels[r].data()), levels[r].size());
    if (theirs != kernels_.level)
      fail(
          ExitCode::configuration,
          "--device cuda: rank {} computes on {}, rank {} on {}, which do not give the same bits; use GPUs of one kind",
          world_.rank(), kernels_.level, r, theirs);
  }
}

void Session::check_gpu_limits() const {
  const int units = std::max({units_.attention_units, units_.mlp_units, config_.num_experts});
  size_t roots = 0;
  for (int count : {units_.attention_units, units_.mlp_units}) {
    size_t all = 0;
    for (int r = 0; r < layout_.tp; r++) all += maximal_nodes(count, units_of(count, layout_.tp, r)).size();
    roots = std::max(roots, all);
  }
  if (units > CudaDevice::kMostUnits || roots > CudaDevice::kMostRoots || config_.head_dim > CudaDevice::kMostHeadDim)
    fail(ExitCode::configuration,
         "--device cuda: {} units a layer, {} partial sums at tp {} and heads of {} values; a GPU takes {}, {} and {} "
         "at "
         "most; leave --device out to run on the CPU, or try a tp that is a power of two",
         units, roots, layout_.tp, config_.head_dim, CudaDevice::kMostUnits, CudaDevice::kMostRoots,
         CudaDevice::kMostHeadDim);
}

// Every rank of every replica has equally many KV blocks: the fewest that any can hold.
void Session::agree_on_cache() {
  const RankShare share = RankShare::of(config_, units_, layout_.tp, here().tp);
  const int layers = place_.end_layer - place_.first_layer;
  const int64_t block = layers * KvCache::block_bytes(share.num_kv_heads, config_.head_dim, kv_type());
  const int64_t wanted = options_.max_seqs * ((config_.max_positions + kBlockTokens - 1) / kBlockTokens);
  const int64_t room = options_.kv_gib > 0
                           ? static_cast<int64_t>(options_.kv_gib * static_cast<double>(int64_t{1} << 30))
                           : std::max<int64_t>(0, room_for_cache());
  int64_t blocks = options_.kv_blocks;
  if (blocks == 0) blocks = options_.kv_gib > 0 ? room / block : std::min(room / block, wanted);
  together(world_, [&] {
    if (blocks >= 1) return;
    fail(ExitCode::out_of_memory,
         "rank {} on {} has no room for a KV cache: {} KiB of it, where a block of {} positions takes {}; use more "
         "ranks, or give a larger --kv-gib",
         world_.rank(), Environment::read().host, room >> 10, kBlockTokens, (block + 1023) >> 10);
  });
  kv_blocks_ = world_.all_min(blocks);
  together(world_, [&] {
    cache_ = std::make_unique<KvCache>(*device_, layers, share.num_kv_heads, config_.head_dim, kv_type(), kv_blocks_);
  });
}

// Groups and channels. Every rank makes them in the same order: replica by replica, stage by stage.
void Session::build_motion() {
  const Coordinates me = here();
  replica_ranks_ = world_.split(me.dp, me.pp * layout_.tp + me.tp);
  result_rank_ = (layout_.pp - 1) * layout_.tp;
  const Environment environment = Environment::read();
  const MotionNeed need{.layout = layout_,
                        .links = machine_.measured_links,
                        .window_bytes = Stage::window_bytes(config_, units_, layout_.tp, limits_),
                        .result_bytes = place_.last ? Sampler::window_bytes(config_, units_, layout_.tp, limits_) : 0,
                        .hop_bytes = Runner::hop_bytes(config_, limits_),
                        .chips = chips_,
                        .free_order = numerics_ == Numerics::fast,
                        .nccl = options_.nccl,
                        .keep_nccl_log = !environment.find("NCCL_DEBUG") && !environment.find("NCCL_DEBUG_FILE"),
                        .files = nccl_files(options_),
                        .deadline = options_.deadline()};
  motion_ = std::make_unique<Motion>(world_, *fabric_, *device_, gpu_, need);
}

void Session::build_stage() {
  together(world_, [&] {
    stage_ = std::make_unique<Stage>(config_, units_, place_, *weights_, *cache_, ropes_, motion_->group(), *device_,
                                     kernels_, limits_);
    const int max_seqs = static_cast<int>(options_.max_seqs);
    if (place_.last)
      sampler_ = std::make_unique<Sampler>(config_, units_, *stage_, motion_->sampling_group(), *device_, kernels_,
                                           host_kernels_, limits_, max_seqs);
    runner_ = std::make_unique<Runner>(config_, *stage_, sampler_.get(), motion_->group(), motion_->previous(),
                                       motion_->next(), *device_, world_.waiter(), limits_, max_seqs, rope_positions_);
  });
}

SchedulerLimits Session::scheduler_limits() const {
  return {.max_seqs = static_cast<int32_t>(options_.max_seqs),
          .max_step_tokens = static_cast<int32_t>(options_.max_step_tokens),
          .kv_blocks = static_cast<int32_t>(kv_blocks_),
          .in_flight = layout_.pp,
          .max_positions = config_.max_positions,
          .preempt_every = options_.preempt_every};
}

std::string Session::layout_text() const {
  const std::string device = gpu_ ? gpu_->name() : fmt::format("{} thread{}", threads_, threads_ == 1 ? "" : "s");
  return fmt::format("tp {}, pp {}, dp {}, {} a rank, kernels {}, numerics {}", layout_.tp, layout_.pp, layout_.dp,
                     device, kernels_.level, name_of(numerics_));
}

}  // namespace trireme

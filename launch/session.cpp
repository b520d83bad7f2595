#include "launch/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "kernels/select.h"
#include "launch/together.h"

namespace trireme {

namespace {

constexpr int kNumericsRevision = 1;      // raised whenever a change of ours changes bits
constexpr int64_t kLogitRows = 32;        // logits computed at once: [32, vocabulary] FP32 is 6 MB for 49152 tokens
constexpr double kCacheShare = 0.5;       // of the memory left after the weights, when --kv-gib is auto

}  // namespace

Session::Session(const Options& options, Communicator& world, const std::string& checkpoint_path)
    : options_(options), world_(world), fabric_(Fabric::create(world)), checkpoint_(std::make_unique<Checkpoint>(checkpoint_path)),
      config_(ModelConfig::from_json(checkpoint_->config(), checkpoint_path)),
      units_(UnitTable::of(config_, row_parallel_group(*checkpoint_))), exact_(options.numerics == "exact") {
  limits_.rows = options_.max_step_tokens;
  limits_.logit_rows = std::min(kLogitRows, limits_.rows);
  choose_layout();
  choose_kernels();
}

void Session::load() {
  device_ = std::make_unique<CpuDevice>(threads_, cpus_);
  agree_on_cache();
  together(world_, [this] { weights_ = std::make_unique<StageWeights>(*checkpoint_, config_, units_, place_, exact_, *device_); });
  rope_ = std::make_unique<Rope>(config_, config_.max_positions);
  build_stage();
}

// PLACEHOLDER until topology/placement lands.
void Session::choose_layout() {
  tp_ = options_.tp ? static_cast<int>(options_.tp) : 1;
  pp_ = options_.pp ? static_cast<int>(options_.pp) : 1;
  dp_ = world_.size() / tp_ / pp_;
  for (int r = 0; r < world_.size(); r++) coordinates_.push_back({r % tp_, r / tp_ % pp_, r / tp_ / pp_});
  here_ = coordinates_[static_cast<size_t>(world_.rank())];
  std::vector<int> split(options_.stage_split.begin(), options_.stage_split.end());
  const std::vector<int> borders = layer_borders(config_.num_layers, pp_, split);
  place_ = {tp_, here_.tp, borders[static_cast<size_t>(here_.pp)], borders[static_cast<size_t>(here_.pp) + 1], here_.pp == 0, here_.pp + 1 == pp_};
  threads_ = options_.threads ? static_cast<int>(options_.threads) : 1;
  memory_bytes_ = int64_t{4} << 30;
}

// The highest kernel level that every rank has, so that all compute the same bits.
void Session::choose_kernels() {
  const auto levels = available_levels();
  int64_t level = std::ssize(levels) - 1;
  if (options_.level != "auto") {
    auto wanted = std::find(levels.begin(), levels.end(), options_.level);
    if (wanted == levels.end())
      fail(ExitCode::configuration, "--level {}: this CPU has {}; leave it out to use the best", options_.level, fmt::join(levels, ", "));
    level = wanted - levels.begin();
  }
  kernels_ = select_kernels(levels[static_cast<size_t>(world_.all_min(level))]);
  fingerprint_ = fmt::format("numerics {} {} kernels {} units {} x {}/{}/{}/{}", kNumericsRevision, exact_ ? "exact" : "standard", kernels_.level,
                             kUnitFormulaVersion, units_.heads_per_unit, units_.columns_per_unit, units_.rows_per_unit, units_.hidden_unit_columns);
}

// Every rank of every replica has equally many KV blocks: the fewest that any can hold.
void Session::agree_on_cache() {
  const RankShare share = RankShare::of(config_, units_, tp_, here_.tp);
  const DType type = exact_ ? DType::f32 : DType::bf16;
  const int layers = place_.end_layer - place_.first_layer;
  const int64_t block = layers * KvCache::block_bytes(share.num_kv_heads, config_.head_dim, type);
  const int64_t wanted = options_.max_seqs * ((config_.max_positions + kBlockTokens - 1) / kBlockTokens);
  int64_t blocks = options_.kv_blocks;
  if (blocks == 0 && options_.kv_gib > 0) blocks = static_cast<int64_t>(options_.kv_gib * static_cast<double>(int64_t{1} << 30)) / block;
  if (blocks == 0) {
    const int64_t weights = StageWeights::packed_bytes_of(*checkpoint_, config_, units_, place_, exact_);
    const int64_t left = memory_bytes_ - weights;
    blocks = std::clamp<int64_t>(static_cast<int64_t>(static_cast<double>(left) * kCacheShare) / block, 0, wanted);
  }
  kv_blocks_ = world_.all_min(blocks);
  if (kv_blocks_ < 1)
    fail(ExitCode::out_of_memory, "no memory for a KV cache: a block of {} positions takes {} MiB on a rank; use more ranks, or give --kv-gib",
         kBlockTokens, block >> 20);
  cache_ = std::make_unique<KvCache>(*device_, layers, share.num_kv_heads, config_.head_dim, type, kv_blocks_);
}

// Groups, channels and the stage. Every rank makes them in the same order: replica by replica, stage by stage.
void Session::build_stage() {
  auto rank_at = [this](int dp, int pp, int tp) {
    for (size_t r = 0; r < coordinates_.size(); r++)
      if (coordinates_[r].dp == dp && coordinates_[r].pp == pp && coordinates_[r].tp == tp) return static_cast<int>(r);
    must(false, "every coordinate of the layout has a rank");
    return -1;
  };
  replica_ranks_ = world_.split(here_.dp, here_.pp * tp_ + here_.tp);
  result_rank_ = (pp_ - 1) * tp_;

  std::vector<int> members;
  for (int t = 0; t < tp_; t++) members.push_back(rank_at(here_.dp, here_.pp, t));
  size_t window = Stage::window_bytes(config_, units_, tp_, limits_);
  if (place_.last) window = std::max(window, Sampler::window_bytes(config_, units_, tp_, limits_));
  group_ = fabric_->collective(members, window);

  const size_t hop = Runner::hop_bytes(config_, limits_);
  const int slots = pp_ + 1;  // a stage can finish a step while the next still has its last
  if (here_.pp > 0) previous_ = fabric_->receiver(rank_at(here_.dp, here_.pp - 1, here_.tp), hop, slots);
  if (here_.pp + 1 < pp_) next_ = fabric_->sender(rank_at(here_.dp, here_.pp + 1, here_.tp), hop, slots);

  stage_ = std::make_unique<Stage>(config_, units_, place_, *weights_, *cache_, *rope_, *group_, *device_, kernels_, limits_);
  const int max_seqs = static_cast<int>(options_.max_seqs);
  if (place_.last) {
    std::vector<RankShare> shares;
    for (int t = 0; t < tp_; t++) shares.push_back(RankShare::of(config_, units_, tp_, t));
    sampler_ = std::make_unique<Sampler>(config_, *stage_, *group_, shares, *device_, kernels_, limits_, max_seqs);
  }
  runner_ = std::make_unique<Runner>(config_, *stage_, sampler_.get(), previous_.get(), next_.get(), *device_, world_.waiter(), limits_, max_seqs);
}

SchedulerLimits Session::scheduler_limits() const {
  return {.max_seqs = static_cast<int32_t>(options_.max_seqs), .max_step_tokens = static_cast<int32_t>(options_.max_step_tokens),
          .kv_blocks = static_cast<int32_t>(kv_blocks_), .in_flight = pp_, .max_positions = config_.max_positions,
          .preempt_every = options_.preempt_every};
}

std::vector<int> Session::leaders() const {
  std::vector<int> leaders(static_cast<size_t>(dp_));
  for (size_t r = 0; r < coordinates_.size(); r++)
    if (coordinates_[r].tp == 0 && coordinates_[r].pp == 0) leaders[static_cast<size_t>(coordinates_[r].dp)] = static_cast<int>(r);
  return leaders;
}

std::string Session::layout_text() const {
  return fmt::format("tp {}, pp {}, dp {}, {} thread{} a rank, kernels {}, numerics {}", tp_, pp_, dp_, threads_,
                     threads_ == 1 ? "" : "s", kernels_.level, options_.numerics);
}

std::string Session::memory_text() const {
  return fmt::format("rank 0: weights {} MiB, KV cache {} MiB ({} blocks of {} positions), group by {}", weights_->bytes() >> 20,
                     cache_->bytes() >> 20, kv_blocks_, kBlockTokens, group_->transport());
}

}  // namespace trireme

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/weight_source.h"
#include "comm/collective.h"
#include "comm/communicator.h"
#include "device/cuda.h"
#include "engine/engine.h"
#include "launch/forecast.h"
#include "launch/motion.h"
#include "launch/options.h"
#include "launch/sampling_defaults.h"
#include "model/stage.h"
#include "plan/own_memory.h"
#include "text/tokenizer.h"
#include "topology/machine.h"
#include "topology/placement.h"

namespace trireme {

// Everything that stands between the options and the first step, in the order of its making: set-up chooses here, and
// the hot path never asks again. One per process that runs a model; every rank makes it at once.
class Session {
 public:
  // Layout, kernels and fingerprint, from the source's table of tensors alone. Collective over `world`; throws on all
  // ranks alike when the layout cannot be. demand: rank 0's counts; nothing: nobody asks for a forecast.
  Session(const Options& options, Communicator& world, std::unique_ptr<WeightSource> source,
          const std::optional<Demand>& demand = {});
  // The links prove themselves; then weights, cache, groups and the stage. What is to be said of the placement goes to
  // `log` before the weights load. Collective; before the first step.
  void load(Log& log);

  Communicator& world() { return world_; }
  const Options& options() const { return options_; }  // with what the model says of sampling
  const SamplingDefaults& sampling_defaults() const { return sampling_defaults_; }
  const WeightSource& source() const { return *source_; }
  const ModelConfig& config() const { return config_; }
  const Layout& layout() const { return layout_; }
  Coordinates here() const { return layout_.at[static_cast<size_t>(world_.rank())]; }
  bool leads_replica() const { return here().tp == 0 && here().pp == 0; }
  Runner& runner() { return *runner_; }
  Device& device() { return *device_; }          // after load()
  KvCache& cache() { return *cache_; }           // after load()
  Sampler* sampler() { return sampler_.get(); }  // on the last stage, after load()
  // The rank that sees the logits of replica `dp`.
  int result_rank(int dp = 0) const { return layout_.rank_at({0, layout_.pp - 1, dp}); }
  // Of this rank, weights and what comes with them; and what it may take.
  int64_t needed_bytes() const;
  int64_t available_bytes() const { return available_bytes_; }
  // This rank's GPU, or null; and how many GPUs all ranks have together.
  CudaDevice* gpu() { return gpu_; }
  std::string gpu_uuid() const { return gpu_ ? gpu_->uuid() : ""; }  // "": this rank computes on its CPU
  int gpus() const { return gpus_; }
  Numerics numerics() const { return numerics_; }
  Packing packing() const { return {numerics_, kernels_.inputs}; }
  DType kv_type() const { return numerics_ == Numerics::exact ? DType::f32 : DType::bf16; }
  Replica replica() { return {*replica_ranks_, result_rank_}; }
  SchedulerLimits scheduler_limits() const;

  // The numerics fingerprint, agreed by all ranks: runs with the same one may be joined and compared.
  const std::string& fingerprint() const { return fingerprint_; }
  // Why these are not the numerics that were asked for, in one line on rank 0; "" when they are.
  const std::string& numerics_remark() const { return numerics_remark_; }
  const Motion& motion() const { return *motion_; }                      // after load()
  const std::optional<Forecast>& forecast() const { return forecast_; }  // rank 0's, where it was asked for
  // "tp 2, pp 1, dp 1; avx512; 1 thread a rank; ..." for the log; and one line of bytes.
  std::string layout_text() const;
  std::string memory_text() const;
  // What this rank's allocators hold beside what was planned, and what libraries, heap and program take beside them (at
  // most kRankBytes; -1: the kernel does not say). After load().
  struct Memory {
    int64_t planned = 0, held = 0;
    int64_t planned_on_gpu = 0, held_on_gpu = 0;  // of these
    int64_t beside = -1;
  };
  Memory memory() const;
  // A line for each rank that computes on a GPU: what it holds there. Collective, after load().
  std::vector<std::string> gpu_memory_texts();
  // CudaDevice::graphs_refused() of this rank.
  std::string graphs_refused() const { return gpu_ ? gpu_->graphs_refused() : ""; }

 private:
  void check_alike() const;
  Machine gather_machine(RankProbe probe) const;
  void open_gpu(const Machine& machine);
  void take_fast_kernels();
  std::vector<std::string> gather_chips(const Machine& machine) const;
  void choose_layout(const std::optional<Demand>& demand);
  Degrees choose_degrees(const std::vector<Degrees>& choices, const std::optional<Demand>& demand, std::string& why);
  ModelNeed model_need() const;
  void choose_kernels();
  void choose_level();
  void check_gpu_limits() const;
  void check_equal_gpus();
  int64_t room_for_cache() const;
  Workspace workspace() const;
  void agree_on_cache();
  void build_motion();
  void build_stage();

  Options options_;
  Communicator& world_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<WeightSource> source_;
  SamplingDefaults sampling_defaults_;
  ModelConfig config_;
  UnitTable units_;
  Numerics numerics_;
  std::string numerics_remark_;
  Machine machine_;
  Layout layout_;
  std::optional<Forecast> forecast_;
  std::vector<int> cpus_;       // to pin to; empty: not pinned
  std::vector<int> near_cpus_;  // at the same NUMA nodes; empty: not pinned
  int threads_ = 1;
  int64_t available_bytes_ = 0;  // memory that this rank may count on
  StagePlace place_;
  StepLimits limits_;
  Kernels kernels_;
  Kernels host_kernels_;  // of the same bits, on the CPU
  std::string fingerprint_;
  std::unique_ptr<Device> device_;
  CudaDevice* gpu_ = nullptr;   // `device_` where it is one
  int gpu_ranks_ = 1;           // that share it
  int gpus_ = 0;                // of all ranks
  int64_t gpu_free_bytes_ = 0;  // of it when last asked
  std::unique_ptr<StageWeights> weights_;
  std::vector<Rope> ropes_;
  int64_t rope_positions_ = 0;
  int64_t kv_blocks_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::string> chips_;  // [ranks] equal where ranks share a GPU's chip; of CPUs empty
  std::unique_ptr<Motion> motion_;
  std::unique_ptr<Stage> stage_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Runner> runner_;
  std::optional<Communicator> replica_ranks_;
  int result_rank_ = 0;
};

}  // namespace trireme

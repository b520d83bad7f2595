#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "plan/host_costs.h"

namespace trireme {

// What an engine reaches of a machine's data sheet, and what it spends beside the arithmetic: src/plan/profiles/*.json,
// which say where each number is from. `published` is fitted by bench/fit_profile.py.
struct EngineProfile {
  std::string name, about;

  // Memory.
  double workspace_bytes = 0;     // activations, graphs, libraries, communicators; 0: as the engine's own code has it
  double cache_share = 0;         // of what is left after weights and workspace; the rest is a margin
  double host_cache_share = 0;    // the same where the device is a CPU
  double bits[kPrecisions] = {};  // of a weight of the layers, scales included; 0: as the engine's own packing has it
  double vocabulary_bits = 0;     // of a weight of embedding and head; 0: as the layers'
  double kv_bytes = 0;            // of a key's or value's element
  double sum_bytes = 0;           // of an element of the partial sums that all-reduces move
  double most_sequences = 0;      // that one replica runs at once
  bool drops_unseen = false;      // keys and values that no window shows any more give their memory back

  // Shares of the data sheet.
  double weight_share = 0;       // of memory bandwidth, reading weights of 16 bits in a decode step
  double weight_share_8 = 0;     // of 8 bits
  double weight_share_4 = 0;     // of 4 bits
  double host_weight_share = 0;  // the same on CPUs, of what streaming reads reach, whatever the bits
  double kv_share = 0;           // reading keys and values
  double flops_share = 0;        // of dense FLOP/s in prefill, 16 bits
  double flops_share_8 = 0;      // 8 bits, and fewer ones that are computed in 8 or 16
  double flops_share_4 = 0;      // computed in FP4
  double expert_flops_part = 0;  // of those shares, what products of experts reach on GPUs, which get few rows each
  double overlap = 0;            // exponent p of (memory^p + arithmetic^p)^(1/p): 1 none, large: all

  // Spent beside it.
  double layer_us = 0;       // of every layer: launches and gaps between kernels
  double expert_us = 0;      // more of it on GPUs where there are experts: choosing, sorting rows by them, adding up
  double layer_8_us = 0;     // more of it where activations are quantized, too (arithmetic_of)
  double step_us = 0;        // of every step: scheduling, sampling, the head's launch
  double sequence_us = 0;    // of every running sequence of a step
  double reduce_factor = 0;  // of the measured all-reduce
  double reduce_us = 0;      // of every all-reduce, more
  double request_ms = 0;     // of a request before its first token: framework, tokenizer
  double interference = 0;   // of a prefill's time that other sequences' decoding waits for
  double clump = 0;          // prefills that a new request waits for, per sequence in flight
  double bubble = 0;         // of a full pipeline's time that stages wait for each other, if alike, times (pp - 1) / pp

  double chunk_tokens = 8192;     // of a prompt that it computes at once (vLLM's and TensorRT-LLM's default)
  double piece_tokens = 8192;     // down to which it cuts a prompt for a pipeline's stages
  std::optional<HostCosts> host;  // of this engine on calibrated CPUs, in place of shares and constants above

  // How far predictions are off on measurements that the constants were not fitted to: medians and 90th percentiles of
  // the relative error; 0: nobody knows.
  double decode_error = 0, decode_error_p90 = 0, throughput_error = 0, throughput_error_p90 = 0;
  double cpu_decode_error = 0, cpu_decode_error_p90 = 0;  // of CPUs, small clusters of them, too
  double expert_error = 0, expert_error_p90 = 0;          // of models with experts, either figure

  bool own() const { return bits[0] == 0; }  // this engine, whose memory is known to the byte
  void set_step_tokens(int64_t tokens);      // of this engine's largest step

  // Throws Error(bad_data) naming the field.
  static EngineProfile parse(const nlohmann::json& json, const std::string& source);
  double weight_share_of(Precision precision, bool cpu) const;
  double flops_share_of(Precision precision,
                        Precision arithmetic) const;  // of weights, and of what they are computed in
};

std::string engine_profile_names();                       // "published, trireme"
EngineProfile get_engine_profile(std::string_view name);  // embedded; throws Error(usage)

}  // namespace trireme

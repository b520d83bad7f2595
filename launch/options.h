#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace trireme {

constexpr std::string_view kCommandLine = "command line";  // as an option's origin

// What the user asked for. Filled by parse_options() alone, from launch/option_table.cpp, which holds every default;
// docs/operations.md and --help say what the fields mean. Counts that may be chosen for the user are 0 for "auto".
struct Options {
  std::string command;    // "run"
  std::string input;      // the positional argument: INPUT, SRC, FILE or WHAT; "" when absent
  std::string text_path;  // the second one: TEXT of bench quality

  std::string model, output;
  std::string dtype;               // convert and made-up weights: "keep", "bf16", "fp32", "int8", "int4" or "fp8"
  std::string shape;               // bench, plan: a name of model/shapes.h
  bool synthetic_weights = false;  // bench
  bool calibrate = false;          // bench
  bool follow_links = false;       // convert
  bool restart = false, allow_errors = false;

  int64_t tp = 0, pp = 0, dp = 0;
  bool allow_slow_placement = false, print_placement = false;
  std::vector<int64_t> stage_split;  // layers of each stage, or empty

  int64_t threads = 0;          // of a rank
  int64_t max_seqs = 0;         // sequences in flight on a replica
  int64_t max_step_tokens = 0;  // of one step: the prefill chunk
  double kv_gib = 0;            // of a rank, 0: auto
  std::string device, cuda_graphs, nccl, numerics;
  std::string level;  // the highest kernel level to use, "auto": what the CPU has
  double deadline_s = 0;

  int64_t max_tokens = 0, top_k = 0, seed = 0;
  double temperature = 0, top_p = 0;
  std::vector<std::string> stop;
  bool ignore_eos = false;

  bool tokens = false, digest = false;
  int64_t logprobs = -1, prompt_logprobs = -1;  // -1: none
  std::string system, instruction;              // TEXT or @FILE: see with_texts()

  std::string text;  // tokenize --text; empty text may be given
  bool bos = false;
  std::string special;  // "text" or "parse"

  std::string synthetic, read_machine, dump, compare, svg, nccl_xml;  // topology
  bool measure = false;                                               // topology

  std::string model_config, machine, precision, kv_type, objective, engine_profile;  // plan
  int64_t context = 0, input_len = 0, output_len = 0;                                // plan: tokens, 0: auto
  int64_t batch = 0;                                                                 // plan: sequences, 0: auto
  double rate = 0, slo_ttft = 0, slo_tpot = 0, gpu_hour = 0;                         // plan: 0: not asked

  int64_t prompt_tokens = 0, steps = 0, repeats = 0, bytes = 0;  // bench
  std::vector<int64_t> batches;                                  // bench
  std::string against, against_numerics;                         // bench quality: the reference; "" is the model's own
  int64_t window = 0, unscored = -1;                             // bench quality: tokens; -1: auto
  bool json = false;

  int64_t kv_blocks = 0, preempt_every = 0;  // test hooks, 0: off

  std::string log_level, config;
  std::vector<std::string> library_prefixes;  // of the environment: Environment::library_prefixes()
  bool help = false, version = false, verbose = false, print_config = false;

  // Where each value of this command's options came from: "default", "TRIREME_TP", "job.conf", "command line".
  std::map<std::string, std::string, std::less<>> origin;

  bool given(std::string_view option) const;  // by the user, not by default
  bool typed(std::string_view option) const;  // on the command line
  SamplingParams sampling() const;            // the defaults of every row
  std::chrono::milliseconds deadline() const {
    return std::chrono::milliseconds(std::max(1LL, std::llround(deadline_s * 1000)));
  }
};

// arguments: argv without the program's name. environment: "NAME=value". Command line > environment > --config file >
// default. Throws Error(usage) in one line for what is unknown, missing, malformed, out of range or contradictory.
Options parse_options(std::span<const std::string> arguments, std::span<const std::string> environment);

// `value`, or the content of FILE when it is "@FILE" ("@@text" is "@text"). Throws Error(no_input) naming `option`.
std::string text_or_file(const std::string& value, std::string_view option);
// `options` with the texts that system and instruction stand for. Files are read once, here.
Options with_texts(Options options);

}  // namespace trireme

#include "launch/option_table.h"

#include <algorithm>
#include <iterator>

#include "launch/commands.h"

namespace trireme {

namespace {

constexpr uint32_t kEngine = kRun | kBench;
constexpr uint32_t kModel = kRun | kTokenize | kRender | kBench | kPlan;
constexpr uint32_t kLayout = kEngine | kPlan;
constexpr double kMany = 1e15;
constexpr double kRanks = 1 << 24;

// Of rows of one name the last has the variable.
// clang-format off
const OptionSpec kTable[] = {
  {"files", "model", 'm', "FILE", "", kModel, &Options::model, "checkpoint (.h5), GGUF file or Hugging Face folder"},
  {"files", "output", 'o', "FILE", "", kRun | kConvert, &Options::output, "where results (JSON lines) or the checkpoint go"},
  {"files", "dtype", 0, "keep|bf16|fp32|int8|int4|fp8", "keep", kConvert | kBench, &Options::dtype, "what matrices are stored as; norms and biases are always FP32"},
  {"files", "shape", 0, "NAME", "", kBench | kPlan, &Options::shape, "a well-known model's shape (llama-3.1-8b) in place of -m"},
  {"files", "config", 0, "config.json", "", kPlan, &Options::model_config, "a model's published config.json in place of -m"},
  {"files", "synthetic", 0, "", "", kBench, &Options::synthetic_weights, "make the weights of --shape up, as --dtype says (keep: bf16): no file is needed"},
  {"files", "follow-links", 0, "", "", kConvert, &Options::follow_links, "files of a folder may be links to anywhere"},
  {"files", "restart", 0, "", "", kRun, &Options::restart, "throw away the run that stands at the output and begin anew"},
  {"files", "allow-errors", 0, "", "", kRun, &Options::allow_errors, "exit 0 even when some rows are errors"},

  {"layout", "tp", 0, "N|auto", "auto", kLayout, &Options::tp, "tensor parallel: ranks that share every layer", 1, kRanks},
  {"layout", "pp", 0, "N|auto", "auto", kLayout, &Options::pp, "pipeline parallel: stages of layers", 1, kRanks},
  {"layout", "dp", 0, "N|auto", "auto", kLayout, &Options::dp, "data parallel: replicas; tp * pp * dp = ranks", 1, kRanks},
  {"layout", "allow-slow-placement", 0, "", "", kEngine, &Options::allow_slow_placement, "let TP groups reach over slow links: sockets, NUMA nodes, PCIe without peer access"},
  {"layout", "print-placement", 0, "", "", kEngine, &Options::print_placement, "say on stderr where each rank, TP group and hop is, before the weights load"},
  {"layout", "stage-split", 0, "N,N,...", "", kEngine, &Options::stage_split, "layers of each stage, first stage first", 1, kRanks},

  {"engine", "device", 0, "cpu|cuda", "cpu", kEngine, &Options::device, "where the model runs"},
  {"engine", "threads", 0, "N|auto", "auto", kEngine, &Options::threads, "threads of a rank (auto: the CPUs its mask allows)", 1, 4096},
  {"engine", "max-seqs", 0, "N|auto", "auto", kEngine, &Options::max_seqs, "sequences in flight on a replica (auto: 16, on GPUs 256)", 1, 65536},
  {"engine", "max-step-tokens", 0, "N|auto", "auto", kEngine, &Options::max_step_tokens, "tokens of one step: the prefill chunk (auto: 256, on GPUs 2048)", 1, 1 << 20},
  {"engine", "kv-gib", 0, "X|auto", "auto", kEngine, &Options::kv_gib, "KV cache of a rank in GiB", 0, 1 << 20, true},
  {"engine", "cuda-graphs", 0, "on|off", "on", kEngine, &Options::cuda_graphs, "replay decode steps from CUDA graphs, start kernels early (sm_90); off: one after the other, the same bits"},
  {"engine", "nccl", 0, "FILE|off|auto", "auto", kEngine | kDoctor, &Options::nccl, "motion between GPUs: auto looks for NCCL, off does without, FILE is its library"},
  {"engine", "numerics", 0, "exact|standard|fast", "standard", kEngine, &Options::numerics, "precision of products and KV cache (docs/numerics.md)"},
  {"engine", "level", 0, "auto|reference|avx2|avx512", "auto", kEngine, &Options::level, "highest kernel level to use"},
  {"engine", "deadline-s", 0, "X", "120", kRun | kBench | kConvert, &Options::deadline_s, "seconds that a step may take before the job ends with 71", 0, 1e6, true},

  {"sampling", "max-tokens", 0, "N", "256", kRun, &Options::max_tokens, "tokens to generate at most; 0 scores the prompt", 0, kMany},
  {"sampling", "temperature", 0, "T", "0", kRun, &Options::temperature, "0: greedy", 0, 100},
  {"sampling", "top-p", 0, "P", "1", kRun, &Options::top_p, "keep the likeliest tokens up to this probability", 0, 1, true},
  {"sampling", "top-k", 0, "K", "0", kRun, &Options::top_k, "keep the K likeliest tokens; 0: all", 0, kMany},
  {"sampling", "seed", 0, "N", "0", kRun, &Options::seed, "of the sampling noise", 0, kMany},
  {"sampling", "stop", 0, "TEXT", "", kRun, &Options::stop, "end a text before this; may be given several times"},
  {"sampling", "ignore-eos", 0, "", "", kRun, &Options::ignore_eos, "go on after the end-of-text token"},

  {"results", "tokens", 0, "", "", kRun, &Options::tokens, "add the generated token ids"},
  {"results", "logprobs", 0, "K", "", kRun, &Options::logprobs, "add the log-probs of generated tokens and of the K best", 0, 1000},
  {"results", "prompt-logprobs", 0, "K", "", kRun, &Options::prompt_logprobs, "likewise of the prompt", 0, 1000},
  {"results", "digest", 0, "", "", kRun, &Options::digest, "add a hash of all logits: equal digests are equal bits"},

  {"text", "system", 0, "TEXT|@FILE", "", kRun | kRender, &Options::system, "system text of every document"},
  {"text", "instruction", 0, "TEXT|@FILE", "", kRun | kRender, &Options::instruction, "what to do with every document"},

  {"tokens", "text", 0, "TEXT", "", kTokenize, &Options::text, "tokenize this text alone"},
  {"tokens", "bos", 0, "", "", kTokenize, &Options::bos, "put the begin-of-text token first"},
  {"tokens", "special", 0, "text|parse", "text", kTokenize, &Options::special, "special-token text is plain text, or parsed"},

  {"machine", "synthetic", 0, "SPEC", "", kTopology, &Options::synthetic, "an invented machine: '2 hosts x 8 h100 nvswitch, 8 ib400', package:2 numa:1 core:8 pu:2"},
  {"machine", "read", 0, "FILE", "", kTopology, &Options::read_machine, "a machine out of a file: one of --dump, or NCCL's topology XML"},
  {"machine", "measure", 0, "", "", kTopology, &Options::measure, "measure memory, and latency and bandwidth between ranks (512 MiB a rank); kept for later"},
  {"machine", "dump", 0, "FILE", "", kTopology, &Options::dump, "write the machine as JSON"},
  {"machine", "compare", 0, "FILE", "", kTopology, &Options::compare, "say how the machine in FILE differs from this one; exit 1 when it does"},
  {"machine", "svg", 0, "FILE", "", kTopology, &Options::svg, "draw the machine"},
  {"machine", "nccl-xml", 0, "FILE", "", kTopology, &Options::nccl_xml, "write the first host as NCCL_TOPO_FILE takes it"},

  {"plan", "machine", 0, "FILE|SPEC|here", "here", kPlan, &Options::machine, "what to plan for: '2 hosts x 8 h100 nvswitch, 8 ib400', or a file: of topology --dump, or JSON of one"},
  {"plan", "precision", 0, "auto|bf16|fp8|fp4|int8|int4", "auto", kPlan, &Options::precision, "of the weights (auto: what -m or --config has; bf16)"},
  {"plan", "kv", 0, "auto|bf16|fp8", "auto", kPlan, &Options::kv_type, "of keys and values (auto: docs/operations.md)"},
  {"plan", "context", 0, "N|auto", "auto", kPlan, &Options::context, "positions that a sequence may need (auto: input and output)", 1, kMany},
  {"plan", "input-len", 0, "N|auto", "auto", kPlan, &Options::input_len, "tokens of a prompt (auto: 1024, or the context)", 1, kMany},
  {"plan", "output-len", 0, "N|auto", "auto", kPlan, &Options::output_len, "tokens that a request generates (auto: 256)", 1, kMany},
  {"plan", "batch", 0, "N|auto", "auto", kPlan, &Options::batch, "sequences in flight on a replica (auto: 1 for latency, else all that fit)", 1, 1 << 20},
  {"plan", "rate", 0, "X", "", kPlan, &Options::rate, "requests a second, of all replicas, in place of --batch", 0, 1e9, true},
  {"plan", "objective", 0, "latency|throughput|cost", "throughput", kPlan, &Options::objective, "what to choose by"},
  {"plan", "slo-ttft", 0, "MS", "", kPlan, &Options::slo_ttft, "milliseconds to the first token, at most", 0, 1e9, true},
  {"plan", "slo-tpot", 0, "MS", "", kPlan, &Options::slo_tpot, "milliseconds for each further token, at most", 0, 1e9, true},
  {"plan", "gpu-hour", 0, "PRICE", "", kPlan, &Options::gpu_hour, "of one device; without it costs are device hours", 0, 1e9, true},
  {"plan", "engine-profile", 0, "NAME|auto", "auto", kPlan, &Options::engine_profile, "what the engine reaches: published (vLLM, TensorRT-LLM), trireme; auto: trireme where bench --calibrate was run, else published"},

  {"bench", "calibrate", 0, "", "", kBench, &Options::calibrate, "measure this host's CPUs for plan and run, in place of a benchmark: a minute"},
  {"bench", "prompt-tokens", 0, "N", "512", kBench, &Options::prompt_tokens, "length of every prompt (decode: 16 unless given)", 1, 1 << 20},
  {"bench", "batch", 0, "N,N,...", "1", kBench, &Options::batches, "sequences that decode together; several numbers: a figure for each, the weights loaded once", 1, 65536},
  {"bench", "steps", 0, "N", "64", kBench, &Options::steps, "decode steps of one sample", 1, 1 << 20},
  {"bench", "repeats", 0, "N", "5", kBench, &Options::repeats, "samples, after one to warm up", 1, 10000},
  {"bench", "bytes", 0, "N", "16384", kBench, &Options::bytes, "bytes of each rank's message", 4, 1 << 30},
  {"quality", "against", 0, "FILE", "", kBench, &Options::against, "the reference: another model of the same vocabulary"},
  {"quality", "against-numerics", 0, "exact|standard|fast", "", kBench, &Options::against_numerics, "the reference's precision; alone: of the same model"},
  {"quality", "window", 0, "N", "512", kBench, &Options::window, "tokens that the model reads at once", 2, 1 << 24},
  {"quality", "unscored", 0, "N", "", kBench, &Options::unscored, "of these, the first that are context only; when not given, an eighth", 0, 1 << 24},

  {"general", "json", 0, "", "", kBench | kInspect | kPlan | kStatus | kTopology, &Options::json, "print JSON lines"},
  {"general", "config", 0, "FILE", "", kAllCommands & ~kPlan, &Options::config, "read options from FILE: lines `name = value`"},
  {"general", "log-level", 0, "debug|info|warn|error", "info", kAllCommands, &Options::log_level, "what goes to stderr"},
  {"general", "print-config", 0, "", "", kAllCommands, &Options::print_config, "print every option, its value and origin, and end"},
  {"general", "help", 'h', "", "", kAllCommands, &Options::help, "print this"},
  {"general", "version", 0, "", "", kAllCommands, &Options::version, "print the version; with --verbose of every library too"},
  {"general", "verbose", 'v', "", "", kAllCommands, &Options::verbose, "say more"},

  {"tests", "kv-blocks", 0, "N", "0", kEngine, &Options::kv_blocks, "test hook: size of the KV cache in blocks; 0: by --kv-gib", 0, 1 << 30},
  {"tests", "preempt-every", 0, "N", "0", kEngine, &Options::preempt_every, "test hook: force a preemption every N steps; 0: never", 0, kMany},
};
// clang-format on

}  // namespace

std::span<const OptionSpec> option_table() { return kTable; }

const OptionSpec* find_option(std::string_view name, uint32_t commands) {
  for (const OptionSpec& spec : kTable)
    if (spec.name == name && (spec.commands & commands)) return &spec;
  return nullptr;
}

bool has_variable(const OptionSpec& spec) {
  return std::none_of(&spec + 1, std::end(kTable), [&](const OptionSpec& later) { return later.name == spec.name; });
}

std::string environment_name(std::string_view option) {
  std::string name = "TRIREME_";
  for (char c : option) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

}  // namespace trireme

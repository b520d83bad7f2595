#include "launch/commands.h"

#include "base/nearest.h"

namespace trireme {

namespace {

constexpr Command kCommands[] = {
    {"run", kRun, MpiUse::always, "INPUT", "a corpus through a model, to completion",
     "  trireme run docs.jsonl -m smollm2.gguf -o out.jsonl --instruction \"Summarize this document.\"\n"
     "  mpirun -n 8 trireme run texts/ -m model.h5 -o out.jsonl --tp 2 --pp 2 --instruction @task.txt\n"
     "  srun --mpi=pmix --kill-on-bad-exit=1 trireme run docs.jsonl -m model.h5 -o out.jsonl --digest\n"
     "  zcat docs.jsonl.gz | trireme run - -m model.h5 -o out.jsonl --max-tokens 0 --prompt-logprobs 0\n",
     run_command},
    {"convert", kConvert, MpiUse::always, "SRC", "a GGUF file or a Hugging Face folder to a checkpoint",
     "  trireme convert SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.h5\n"
     "  trireme convert Llama-3.2-1B/ -o llama-1b.h5 --dtype int8\n"
     "  trireme convert Llama-3.1-8B/ -o llama-8b.h5 --dtype fp8\n"
     "  mpirun -n 4 trireme convert llama-70b.gguf -o llama-70b.h5\n",
     convert_command},
    {"inspect", kInspect, MpiUse::never, "FILE",
     "what is in a checkpoint, GGUF, folder or result: shapes, units, bytes, digests",
     "  trireme inspect smollm2.h5\n"
     "  trireme inspect summaries.jsonl\n"
     "  trireme inspect SmolLM2-135M-Instruct.Q4_1.gguf --json\n",
     inspect_command},
    {"tokenize", kTokenize, MpiUse::never, "[FILE|-]",
     "lines of {\"text\"} or {\"token_ids\"} in, the same with the other added out",
     "  trireme tokenize -m smollm2.h5 --text \"Hello, world\"\n"
     "  trireme tokenize -m smollm2.h5 docs.jsonl > tokens.jsonl\n"
     "  echo '{\"token_ids\": [28, 905]}' | trireme tokenize -m smollm2.h5\n",
     tokenize_command},
    {"render", kRender, MpiUse::never, "[FILE|-]",
     "lines of {\"messages\"} or {\"text\"} in, with \"prompt\" and \"token_ids\" added out",
     "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | trireme render -m smollm2.h5\n"
     "  trireme render -m smollm2.h5 docs.jsonl --instruction \"Summarize this document.\"\n",
     render_command},
    {"topology", kTopology, MpiUse::if_launched, "", "the probed machine as text, picture or data",
     "  trireme topology\n"
     "  mpirun -n 4 trireme topology --dump machine.json --svg machine.svg\n"
     "  mpirun -n 4 trireme topology --measure\n"
     "  trireme topology --read machine.json --nccl-xml topo.xml\n"
     "  trireme topology --compare machine.json\n"
     "  trireme topology --synthetic '2 hosts x 8 h100 nvswitch, 8 ib400' --svg h100.svg\n"
     "  trireme topology --synthetic 'package:2 numa:1 core:8 pu:2'\n",
     topology_command},
    {"plan", kPlan, MpiUse::never, "", "which layouts fit a machine, what each will do, which to take and why",
     "  trireme plan --shape llama-3.1-70b --machine '2 hosts x 8 h100 nvswitch, 8 ib400' --precision fp8\n"
     "  trireme plan -m model.h5 --machine '1 host x 4 l40s' --context 8192 --batch 24\n"
     "  trireme plan --shape llama-3.1-8b --machine '8 h100' --objective latency --input-len 2048 --output-len 256\n"
     "  trireme plan --config config.json --machine '8 a100-80gb' --objective cost --gpu-hour 2.5 --slo-tpot 50\n"
     "  trireme plan --shape llama-3.1-70b --machine '8 h100' --tp 4 --pp 1 --dp 2 --batch 16 --json\n",
     plan_command},
    {"bench", kBench, MpiUse::always, "WHAT [TEXT]",
     "decode, prefill, collective, kernels, load or limits, each beside its limit; quality on a text",
     "  trireme bench decode -m smollm2.h5 --batch 16\n"
     "  trireme bench prefill -m smollm2.h5 --prompt-tokens 512 --json\n"
     "  trireme bench decode --shape llama-3.2-1b --synthetic --dtype int8\n"
     "  mpirun -n 8 trireme bench decode --shape llama-3.1-70b --synthetic --device cuda --batch 64 --prompt-tokens "
     "2048\n"
     "  mpirun -n 2 trireme bench collective --bytes 16384\n"
     "  trireme bench load -m smollm2.h5\n"
     "  trireme bench kernels --threads 2\n"
     "  trireme bench limits\n"
     "  trireme bench quality -m smollm2.h5 book.txt\n"
     "  trireme bench quality -m smollm2.h5 --against-numerics exact book.txt\n"
     "  mpirun -n 2 trireme bench quality -m smollm2-int8.h5 --against smollm2.h5 book.txt --json\n",
     bench_command},
    {"doctor", kDoctor, MpiUse::if_launched, "",
     "versions, ranks, devices and limits of every node, and what is wrong with them",
     "  trireme doctor\n"
     "  mpirun -n 4 trireme doctor\n",
     doctor_command},
    {"status", kStatus, MpiUse::never, "OUT.jsonl", "where a run stands or why it ended, from its files alone",
     "  trireme status summaries.jsonl\n"
     "  trireme status summaries.jsonl --json\n",
     status_command},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  for (const Command& command : kCommands)
    if (command.name == name) return &command;
  return nullptr;
}

std::string command_hint(std::string_view name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  return did_you_mean(name, names);
}

}  // namespace trireme

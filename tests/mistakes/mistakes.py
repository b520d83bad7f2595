#!/usr/bin/env python3
"""Mistakes that users make, and what each says: a table that is also the documentation. Every message is one screen: one
line that names what is wrong and one thing to try, with the exit code of docs/operations.md, once per job and not per rank.

    tests/mistakes/mistakes.py build/trireme [--show]      --show prints every message"""
import dataclasses
import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny

MOST_LINES, MOST_BYTES = 6, 1200  # of a message
NEVER = ["terminate called", "what():", "internal error", "Traceback", "Signal:", "*** Process received", "HDF5-DIAG", "std::"]


@dataclasses.dataclass
class Mistake:
    what: str
    command: str        # {m}: a model, {in}: an input, {out}: an output that is not there, {dir}: the folder of all files
    code: int
    says: list          # words of the message
    ranks: int = 1
    other: str = ""     # options that one more rank has, and no other
    env: dict = dataclasses.field(default_factory=dict)
    nobody: bool = False  # as a user whom permissions hold; only root can ask for that
    gpu: bool = False     # on the GPU that does not exist (tests/testkit/cuda)


M = Mistake
RUN = "run {in} -m {m} -o {out}"
SEVERAL = "run {dir}/several.jsonl -m {m} -o {out} --restart --device cuda --max-seqs 4 --max-step-tokens 256 --deadline-s 1 --max-tokens 4 --ignore-eos"  # steps enough to make a graph
MISTAKES = [
    # the command line
    M("no command", "", 64, ["trireme COMMAND", "run"]),
    M("a command that is none", "rum {in}", 64, ["unknown command 'rum'", "did you mean run?", "trireme --help"]),
    M("the option before the command", "-m {m} run {in}", 64, ["the command comes first"]),
    M("no input named", "run -m {m} -o {out}", 64, ["run needs INPUT", "trireme run --help"]),
    M("two inputs", "run {in} {in} -m {m} -o {out}", 64, ["takes one argument", "'{in}' follows"]),
    M("no model named", "run {in} -o {out}", 64, ["no model", "-m MODEL"]),
    M("no output named", "run {in} -m {m}", 64, ["no output", "-o OUT.jsonl"]),
    M("standard output as output", "run {in} -m {m} -o -", 64, ["must be a file", "-o OUT.jsonl"]),
    M("an option misspelled", RUN + " --max-tokns 5", 64, ["unknown option --max-tokns", "did you mean --max-tokens?"]),
    M("an option cut short", RUN + " --max-t 5", 64, ["unknown option --max-t", "did you mean --max-tokens?"]),
    M("an option of another command", RUN + " --bos", 64, ["unknown option --bos", "of other commands"]),
    M("an option without its value", RUN + " --max-tokens", 64, ["--max-tokens", "trireme run --help"]),
    M("an option twice", RUN + " --tp 1 --tp 2", 64, ["--tp is given twice", "keep one"]),
    M("words for a number", RUN + " --max-tokens many", 64, ["--max-tokens is 'many'", "a whole number"]),
    M("a number below its range", RUN + " --max-tokens -1", 64, ["--max-tokens is '-1'", "at least 0"]),
    M("a fraction for a count", RUN + " --max-seqs 2.5", 64, ["--max-seqs is '2.5'", "whole number"]),
    M("a temperature that is none", RUN + " --temperature nan", 64, ["--temperature is 'nan'", "0 to 100"]),
    M("a top-p of 0", RUN + " --temperature 1 --top-p 0", 64, ["--top-p is '0'", "above 0"]),
    M("a choice that is none", RUN + " --numerics sloppy", 64, ["--numerics is 'sloppy'", "exact, standard, fast"]),
    M("a kernel level that is none", RUN + " --level sse9", 64, ["--level is 'sse9'", "avx2"]),
    M("a log level that is none", RUN + " --log-level loud", 64, ["--log-level is 'loud'", "debug, info, warn, error"]),
    M("a switch with a strange value", RUN + " --restart=maybe", 64, ["--restart is 'maybe'", "true or false"]),
    M("an empty stop text", RUN + " --stop=", 64, ["--stop"]),
    M("a stop text that is no UTF-8", RUN + " --stop \udcff", 64, ["--stop", "not UTF-8 at byte 0"]),
    M("0 ranks of TP", RUN + " --tp 0", 64, ["--tp is '0'", "or auto"]),
    M("top-k on greedy decoding", RUN + " --top-k 5", 64, ["no effect on greedy", "--temperature"]),
    M("a stage split and another PP", RUN + " --stage-split 1,2 --pp 3", 64, ["--stage-split names 2 stages", "--pp is 3"]),
    M("a stage split of words", RUN + " --stage-split 1,x", 64, ["--stage-split is 'x'", "whole number"]),
    # ranks that were told different things
    M("ranks of different numerics", RUN, 78, ["rank 1 on", "has --numerics 'exact'", "rank 0 on", "'standard'", "give all ranks the same"], other="--numerics exact"),
    M("ranks of different sampling", RUN + " --dp 2", 78, ["has --seed '7'", "'0'"], other="--seed 7"),
    M("ranks that read different texts", RUN + " --dp 2", 78, ["rank 1 on", "has --instruction 'XXH3 "], other="--instruction @{dir}/text.txt"),
    # environment and config file
    M("a bad value in the environment", RUN, 64, ["TRIREME_MAX_SEQS", "'lots'"], env={"TRIREME_MAX_SEQS": "lots"}),
    M("a variable misspelled", RUN, 64, ["TRIREME_MAX_SEQ ", "did you mean TRIREME_MAX_SEQS?"], env={"TRIREME_MAX_SEQ": "4"}),
    M("a config file that is not there", RUN + " --config {dir}/none.conf", 66, ["{dir}/none.conf", "check --config"]),
    M("a config file with an unknown key", RUN + " --config {dir}/key.conf", 64, ["--max-token ", "key.conf", "did you mean --max-tokens?"]),
    M("a config file with a bad value", RUN + " --config {dir}/value.conf", 64, ["--top-p", "value.conf", "'2'"]),
    M("a config file that is no config file", RUN + " --config {dir}/text.txt", 64, ["text.txt", "name = value"]),
    # inputs
    M("an input that is not there", "run {dir}/none.jsonl -m {m} -o {out}", 66, ["no input {dir}/none.jsonl", "standard input"]),
    M("an input that may not be read", "run {dir}/secret.jsonl -m {m} -o {dir}/open/out.jsonl", 66, ["secret.jsonl", "Permission denied", "permissions"], nobody=True),
    M("a device as input", "run /dev/null -m {m} -o {out}", 66, ["/dev/null is neither a file nor a folder"]),
    M("a folder without texts", "run {dir}/empty -m {m} -o {out}", 66, ["{dir}/empty", "no .txt or .md file"]),
    M("an instruction file that is not there", RUN + " --instruction @{dir}/none.txt", 66, ["{dir}/none.txt", "--instruction", "@@"]),
    M("an instruction that is a folder", RUN + " --instruction @{dir}/empty", 66, ["{dir}/empty", "--instruction"]),
    # models
    M("a model that is not there", "run {in} -m {dir}/none.gguf -o {out}", 66, ["no model '{dir}/none.gguf'", "check -m"]),
    M("a model that may not be read", "run {in} -m {dir}/secret.gguf -o {dir}/open/out.jsonl", 66, ["secret.gguf", "Permission denied"], nobody=True),
    M("a text file as model", "run {in} -m {dir}/text.txt -o {out}", 65, ["{dir}/text.txt", "trireme convert"]),
    M("an empty file as model", "run {in} -m {dir}/nothing.h5 -o {out}", 65, ["{dir}/nothing.h5", "0 bytes"]),
    M("a safetensors file as model", "run {in} -m {dir}/model.safetensors -o {out}", 65, ["model.safetensors"]),
    M("a config.json as model", "run {in} -m {dir}/folder/config.json -o {out}", 65, ["config.json"]),
    M("a folder without config.json", "run {in} -m {dir}/empty -o {out}", 65, ["{dir}/empty"]),
    M("an HDF5 file that is not ours", "run {in} -m {dir}/foreign.h5 -o {out}", 65, ["{dir}/foreign.h5", "trireme convert"]),
    M("a checkpoint cut short", "run {in} -m {dir}/short.h5 -o {out}", 65, ["{dir}/short.h5", "convert the model again"]),
    M("a checkpoint cut short in its index", "run {in} -m {dir}/shorter.h5 -o {out}", 65, ["{dir}/shorter.h5"]),
    M("a checkpoint with a flipped bit in its weights", "run {in} -m {dir}/flipped.h5 -o {out}", 65, ["{dir}/flipped.h5", "checksum", "convert the model again"]),
    M("a checkpoint of another version", "run {in} -m {dir}/version.h5 -o {out}", 65, ["{dir}/version.h5", "version"]),
    M("a GGUF file cut short", "run {in} -m {dir}/short.gguf -o {out}", 65, ["{dir}/short.gguf", "damaged"]),
    M("a GGUF file cut short in its metadata", "run {in} -m {dir}/shorter.gguf -o {out}", 65, ["{dir}/shorter.gguf", "byte"]),
    M("a model of an unknown family", "run {in} -m {dir}/family.gguf -o {out}", 65, ["{dir}/family.gguf", "general.architecture", "xlama"]),
    # outputs
    M("an output that exists", "run {in} -m {m} -o {dir}/text.txt", 73, ["{dir}/text.txt exists", "choose another output"]),
    M("the input as output", "run {in} -m {m} -o {in}", 64, ["{in}", "is the input", "-o"]),
    M("an output folder that is not there", "run {in} -m {m} -o {dir}/none/out.jsonl", 73, ["{dir}/none/out.jsonl.run", "must exist"]),
    M("an output that is a folder", "run {in} -m {m} -o {dir}/empty", 73, ["{dir}/empty", "folder"]),
    M("an output folder that may not be written", "run {in} -m {m} -o {dir}/locked/out.jsonl", 73, ["Permission denied", "writable"], nobody=True),
    M("an output that another job writes", "run {in} -m {m} -o {dir}/held.jsonl", 73, ["held by process", "wait for that run"]),
    M("a run with another option", "run {in} -m {m} -o {dir}/done.jsonl --max-tokens 3", 78, ["sampling.max_tokens: 2 before, 3 now", "--restart"]),
    M("a run with another input", "run {dir}/other.jsonl -m {m} -o {dir}/done.jsonl --max-tokens 2", 78, ["input.", "before", "--restart"]),
    M("a full disk", "run {in} -m {m} -o {full}/out.jsonl --max-tokens 1", 74, ["{full}/", "No space left on device", "free space"]),
    M("another fault where not even status.json has room", "run {in} -m {m} -o {full}/out.jsonl --tp 2 --dp 2", 78, ["2 x 1 x 2 = 4"]),
    M("a disk that fills while results are written", "run {dir}/many.jsonl -m {m} -o {fullsoon}/out.jsonl --max-tokens 4 --prompt-logprobs 20", 74,
      ["{fullsoon}/", "No space left on device", "free space"]),
    # layouts
    M("more TP than ranks", RUN + " --tp 3", 78, ["tp 3", "does not make 2 ranks", "try"], ranks=2),
    M("DP on one rank", RUN + " --dp 2", 78, ["dp 2", "does not make 1 ranks", "try"]),
    M("a layout that is not the ranks'", RUN + " --tp 2 --pp 2 --dp 2", 78, ["2 x 2 x 2 = 8", "start 8 ranks"], ranks=2),
    M("more TP than units of a layer", "run {in} -m {dir}/narrow.gguf -o {out} --tp 3", 78, ["--tp 3", "units", "try"], ranks=3),
    M("more PP than layers", "run {in} -m {dir}/narrow.gguf -o {out} --pp 2", 78, ["--pp 2", "1 layers", "try"], ranks=2),
    M("a stage split of too few layers", RUN + " --stage-split 1,1", 78, ["--stage-split 1,1", "the model has 3"], ranks=2),
    M("a KV cache for nothing", RUN + " --kv-gib 0.0000001", 72, ["KV cache", "--kv-gib"]),
    M("a KV cache for nothing on one rank", RUN + " --restart", 72, ["rank 1 on ", "no room for a KV cache", "--kv-gib"], other="--kv-gib 0.0000001"),
    M("a GPU where there is none", RUN + " --device cuda", 78, ["--device cuda", "leave --device out"]),
    M("no GPU for this process", RUN + " --device cuda", 78, ["no GPU is visible", "CUDA_VISIBLE_DEVICES", "MIG"], gpu=True, env={"CUDA_VISIBLE_DEVICES": "-1"}),
    M("a driver that is too old", RUN + " --device cuda", 78, ["the driver runs CUDA 12.4, this build is of 13.0", "update the driver"], gpu=True,
      env={"TRIREME_EMULATED_GPU_DRIVER": "12040"}),
    M("no driver", RUN + " --device cuda", 78, ["no NVIDIA driver", "leave --device out"], gpu=True, env={"TRIREME_EMULATED_GPU_DRIVER": "0"}),
    M("a GPU in exclusive mode that another process has", RUN + " --device cuda", 78,
      ["GPU 0 (emulated, sm_80) is taken by another process", "give each rank a GPU of its own"], gpu=True, env={"TRIREME_EMULATED_GPU_TAKEN": "1"}),
    M("two ranks on a GPU in exclusive mode", RUN + " --device cuda", 78, ["is taken by another process", "give each rank a GPU of its own"], gpu=True,
      ranks=2, env={"TRIREME_EMULATED_GPU_TAKEN": "1@1"}),
    M("a driver that is too old on one rank", RUN + " --device cuda", 78, ["the driver runs CUDA 12.4"], gpu=True, ranks=2,
      env={"TRIREME_EMULATED_GPU_DRIVER": "12040@1"}),
    M("a GPU that is too old", RUN + " --device cuda", 78, ["older than sm_80", "leave --device out"], gpu=True, env={"TRIREME_EMULATED_GPU_SM": "75"}),
    M("GPUs of two architectures", RUN + " --restart --device cuda", 78, ["cuda-sm_80", "cuda-sm_90", "GPUs of one kind"], gpu=True, ranks=2,
      env={"TRIREME_EMULATED_GPUS": "2", "TRIREME_EMULATED_GPU_1_SM": "90"}),
    M("a GPU without room", RUN + " --restart --device cuda --kv-gib 0.4", 72, ["GPU 0", "has no 410 MiB for the KV cache", "--kv-gib"], gpu=True,
      env={"TRIREME_EMULATED_GPU_MIB": "355"}),
    M("a GPU too small for the model", RUN + " --device cuda", 78, ["does not fit", "are free"], gpu=True, env={"TRIREME_EMULATED_GPU_MIB": "71"}),
    M("a GPU that hangs", RUN + " --restart --device cuda --deadline-s 0.5", 71, ["GPU 0", "has not finished"], gpu=True, env={"TRIREME_EMULATED_GPU_HANGS": "1"}),
    M("a driver that gives no memory", RUN + " --restart --device cuda --deadline-s 0.5", 71, ["GPU 0", "asked for", "its driver is stuck"], gpu=True,
      env={"TRIREME_EMULATED_GPU_BLOCKS_IN": "cudaMalloc"}),
    M("a driver that locks no memory", RUN + " --restart --device cuda --deadline-s 0.5", 71, ["GPU 0", "asked for", "its driver is stuck"], gpu=True,
      env={"TRIREME_EMULATED_GPU_BLOCKS_IN": "cudaHostAlloc"}),
    M("a driver that makes no graph", SEVERAL, 71, ["GPU 0", "asked for a graph", "its driver is stuck"], gpu=True,
      env={"TRIREME_EMULATED_GPU_BLOCKS_IN": "cudaGraphInstantiate"}),
    *(M(f"a driver that never comes back from {call}", SEVERAL, 71, ["waited 1 s for GPU 0", f"asked for {what}", "its driver is stuck"], gpu=True,
        env={"TRIREME_EMULATED_GPU_BLOCKS_IN": call})
      for call, what in (("cudaMemcpyAsync", "a copy"), ("cudaStreamQuery", "the operations of a step"), ("cudaGraphLaunch", "a graph of operations"),
                         ("cudaFree", "memory to be given back"))),
    M("a level of CPUs on a GPU", RUN + " --device cuda --level avx2", 78, ["--level avx2", "leave one of them out"], gpu=True),
    M("a benchmark on a GPU where there is none", "bench decode -m {m} --device cuda", 78, ["--device cuda", "leave --device out"]),
    M("a benchmark that knows CPUs alone", "bench collective --device cuda", 64, ["--device cuda", "leave --device"]),
    M("a benchmark on a GPU too small for the shape", "bench decode --shape smollm2-135m --synthetic --device cuda", 78, ["does not fit", "are free"], gpu=True,
      env={"TRIREME_EMULATED_GPU_MIB": "119"}),
    M("srun without PMIx", RUN, 78, ["srun", "--mpi=pmix"], env={"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}),
    # other commands
    M("convert without an output", "convert {m}", 64, ["-o MODEL.h5"]),
    M("ranks that convert to different types", "convert {m} -o {out}", 78, ["{m}", "different types", "the same source and --dtype"], other="--dtype int8"),
    M("convert a text file", "convert {dir}/text.txt -o {out}", 65, ["{dir}/text.txt"]),
    M("convert a checkpoint", "convert {m}.h5 -o {out}", 65, ["{m}.h5 is a checkpoint already", "made from"]),
    M("convert over the source", "convert {m} -o {m}", 73, ["{m}", "is there already", "convert -o"]),
    M("convert over the source, by another name of it", "convert {m} -o {dir}/link.gguf", 73, ["{dir}/link.gguf", "is there already", "convert -o"]),
    M("convert over another file, on two ranks", "convert {m} -o {dir}/text.txt", 73, ["{dir}/text.txt", "is there already", "convert -o"], ranks=2),
    M("convert to a folder", "convert {m} -o {dir}/open", 73, ["{dir}/open", "is a folder", "-o {dir}/open/MODEL.h5"]),
    M("convert into a folder that is not there", "convert {m} -o {dir}/none/model.h5", 73, ["{dir}/none", "choose another -o"]),
    M("inspect what is not there", "inspect {dir}/none.h5", 66, ["{dir}/none.h5"]),
    M("inspect a text file", "inspect {dir}/text.txt", 65, ["{dir}/text.txt"]),
    M("inspect documents", "inspect {in}", 65, ["in.jsonl line 1 is no result", "finish_reason"]),
    M("status of no run", "status {dir}/none.jsonl", 66, ["no run stands at", "run -o"]),
    M("tokenize without a model", "tokenize --text a", 64, ["-m MODEL"]),
    M("tokenize a line that is no JSON", "tokenize -m {m} {dir}/text.txt", 65, ["text.txt line 1", "JSON"]),
    M("tokenize ids outside the vocabulary", "tokenize -m {m} {dir}/ids.jsonl", 65, ["line 1", "0 to 258"]),
    M("render a line without messages", "render -m {m} {dir}/ids.jsonl", 65, ["line 1", "messages"]),
    M("a benchmark past the context", "bench prefill -m {m} --prompt-tokens 100000", 64, ["100000 tokens", "context of", "--prompt-tokens"]),
    M("a shape that is none", "bench decode --shape llama3.1-8b --synthetic", 64, ["no shape 'llama3.1-8b'", "did you mean llama-3.1-8b?", "smollm2-135m"]),
    M("a shape without weights", "bench decode --shape llama-3.1-8b", 64, ["llama-3.1-8b", "add --synthetic", "-m MODEL"]),
    M("made-up weights of no shape", "bench prefill --synthetic", 64, ["add --shape NAME"]),
    M("a shape and a model", "bench decode --shape llama-3.1-8b --synthetic -m {m}", 64, ["--shape llama-3.1-8b and -m {m}", "keep one"]),
    M("a shape to load", "bench load --shape llama-3.1-8b --synthetic", 64, ["bench load takes no --shape", "decode and prefill"]),
    M("a model to be measured in another precision", "bench decode -m {m} --dtype int8", 64, ["--dtype int8", "trireme convert --dtype int8"]),
    M("a shape larger than the machine", "bench decode --shape gpt-530b --synthetic", 78, ["does not fit", "are free"]),
    M("a shape larger than the machine, on two ranks", "bench decode --shape gpt-530b --synthetic", 78, ["does not fit", "are free"], ranks=2),
    M("a machine that is none", "topology --synthetic 'two big ones'", 64, ["'two big ones' describes no machine", "2 hosts x 8 h100"]),
    M("a machine of GPUs that are none", "topology --synthetic '8 h1000'", 64, ["column 3", "did you mean h100?"]),
    M("a machine too large to invent", "topology --synthetic '1 host x 1000 h100'", 64, ["too large to invent", "64 devices"]),
    M("more CPUs than can be invented", "topology --synthetic 'package:1000 core:100 pu:1'", 64, ["too large to invent", "16384 CPUs"]),
    M("two machines at once", "topology --synthetic '8 h100' --read {dir}/text.txt", 64, ["--synthetic and --read", "keep one"]),
    M("a machine file that is not there", "topology --read {dir}/no.json", 66, ["no.json"]),
    M("a machine file that is none", "topology --read {dir}/text.txt", 65, ["text.txt", "no JSON"]),
    M("another JSON file for a machine", "topology --read {dir}/folder/config.json", 65, ["config.json", "model_type"]),
    M("a machine file with a wrong field", "topology --read {dir}/machine.json", 65, ["machine.json", "\"cpus\" of the host", "ascending"]),
    M("XML that is no topology", "topology --read {dir}/other.xml", 65, ["other.xml", "no <system>"]),
    M("a picture into no folder", "topology --synthetic '8 h100' --svg {dir}/no/p.svg", 73, ["no/p.svg"]),
    M("a benchmark that is none", "bench decod -m {m}", 64, ["no benchmark 'decod'", "did you mean decode?"]),
]


DISKS = {"full": 60 << 10, "fullsoon": 16 << 10}  # bytes of ballast on 64 KiB


def put_files(tiny, model):
    """Every file that a mistake names."""
    put = tiny.put
    rows = b'{"prompt":"a","max_tokens":1}\n'
    put("in.jsonl", rows)
    put("other.jsonl", rows + rows)
    put("text.txt", "Once upon a time.\n")
    put("machine.json", '{"trireme_machine": 1, "hosts": [{"name": "a", "cpus": [[1, 0, 0, 0], [0, 1, 0, 0]]}]}')
    put("other.xml", "<graphs version='1'/>")
    put("key.conf", "max-token = 5\n")
    put("value.conf", "temperature = 1\ntop-p = 2\n")
    put("nothing.h5", "")
    put("empty/notes.pdf", "no text")
    put("ids.jsonl", '{"token_ids": [1, 259]}\n')
    put("folder/config.json", '{"model_type": "llama"}')
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    put("model.safetensors", struct.pack("<Q", len(header)) + header + b"\0" * 4)
    put("foreign.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 8192)
    with open(model, "rb") as file:
        gguf = file.read()
    put("short.gguf", gguf[:-1000])
    put("shorter.gguf", gguf[:500])
    put("family.gguf", gguf.replace(b"llama", b"xlama"))
    with open(model + ".h5", "rb") as file:
        h5 = file.read()
    put("short.h5", h5[:len(h5) // 2])
    put("shorter.h5", h5[:200])
    put("several.jsonl", b"".join(b'{"prompt":"one of several rows, number %d"}\n' % i for i in range(16)))
    put("many.jsonl", b"".join(b'{"prompt":"one of many rows, number %d"}\n' % i for i in range(100)))
    middle = len(h5) * 3 // 4
    put("flipped.h5", h5[:middle] + bytes([h5[middle] ^ 4]) + h5[middle + 1:])
    put("version.h5", h5[:8] + struct.pack("<I", 99) + h5[12:])
    for name in ("secret.jsonl", "secret.gguf"):
        os.chmod(put(name, gguf if name.endswith("gguf") else rows), 0)
    os.symlink(model, tiny.path("link.gguf"))
    os.mkdir(tiny.path("locked"), 0o555)
    os.mkdir(tiny.path("open"))
    os.chmod(tiny.path("open"), 0o777)
    tiny.model("narrow", "--layers", "1", "--heads", "2", "--kv-heads", "1")


def small_disk(tiny, name, ballast):
    """A file system of 64 KiB with a file of so many bytes in it: its folder; None where nobody may mount one."""
    os.mkdir(tiny.path(name))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tiny.path(name)], capture_output=True)
    if done.returncode != 0:
        return None
    with open(tiny.path(name + "/ballast"), "wb") as file:
        try:
            file.write(b"x" * ballast)
        except OSError:
            pass
    return tiny.path(name)


def message_of(stderr, ranks):
    """What the program said, without the log's lines; under mpirun without what that adds around it."""
    lines = [line for line in stderr.splitlines() if line.strip() and not re.match(r"\d{4}-\d\d-\d\dT[\d:.]+ r\d+/", line)]
    if ranks == 1:
        return lines
    starts = [i for i, line in enumerate(lines) if line.startswith("trireme")]
    return lines[starts[0]:next((i for i in range(starts[0], len(lines)) if re.match(r"-{20}|\[|MPI_ABORT", lines[i])), len(lines))] + \
        [lines[i] for i in starts[1:]] if starts else lines


def check_unseen_cache(checks, tiny, model):
    """A model that nobody may write beside, and a cache folder that each host has for itself: rank 1 has a mount of its own there."""
    folder, cache = tiny.path("readonly"), tiny.path("cache")
    os.mkdir(folder)
    os.makedirs(os.path.join(cache, "trireme"))
    rows = tiny.put("cached.jsonl", '{"prompt":"a"}\n')
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode != 0:
        checks.skip("a cache folder of one host", "a file system cannot be mounted here")
        return
    try:
        shutil.copy(model, folder)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        run = [tiny.trireme, "run", rows, "-m", os.path.join(folder, os.path.basename(model)), "-o", tiny.path("cached.out"), "--max-tokens", "1", "--restart"]
        blind = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', os.path.join(cache, "trireme"), *run]
        for when in ("when it is converted", "when it was"):
            done = subprocess.run(["mpirun", "-n", "1", *run, ":", "-n", "1", *blind], capture_output=True, text=True, timeout=60,
                                  env=tiny.environment(XDG_CACHE_HOME=cache))
            lines = message_of(done.stderr, 2)
            words = ["is converted on rank 0's host to " + cache, "rank 1 on ", "does not see", "trireme convert " + folder, "-o MODEL.h5"]
            checks.check(f"a cache folder of one host, {when}", done.returncode == 66 and all(word in lines[0] for word in words), done.stderr)
            checks.check("and nothing is left of the look", not any(".seen-" in name for name in os.listdir(os.path.join(cache, "trireme"))))
            alone = subprocess.run(run, capture_output=True, text=True, timeout=60, env=tiny.environment(XDG_CACHE_HOME=cache))
            checks.equal("one host runs", alone.returncode, 0) or print(alone.stderr)
    finally:
        subprocess.run(["umount", folder], check=True)


def check(checks, tiny, mistake, places, show):
    if mistake.nobody and os.getuid() != 0:
        checks.skip(mistake.what, "only root can run it as somebody else")
        return
    if any("{%s}" % disk in mistake.command and not places[disk] for disk in DISKS):
        checks.skip(mistake.what, "a small file system cannot be mounted here")
        return
    program = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu") if mistake.gpu else tiny.trireme
    if not os.path.exists(program):
        checks.skip(mistake.what, "this build has no emulated GPU")
        return
    command = [word.format(**places) for word in shlex.split(mistake.command)]
    launcher = ["mpirun", "-n", str(mistake.ranks)] if mistake.ranks > 1 or mistake.other else []
    last = [":", "-n", "1", program, *command, *mistake.other.format(**places).split()] if mistake.other else []
    more = {"user": 65534, "group": 65534, "extra_groups": []} if mistake.nobody else {}
    done = subprocess.run([*launcher, program, *command, *last], capture_output=True, text=True, timeout=60, cwd=places["dir"],
                          env=tiny.environment(HOME=tiny.folder, **mistake.env), **more)
    lines = message_of(done.stderr, mistake.ranks + bool(mistake.other))
    text = "\n".join(lines)
    if show:
        shown = mistake.command.encode(errors="backslashreplace").decode()  # some bytes are no text
        print(f"[{done.returncode}] {mistake.what}: trireme {shown}\n    " + "\n    ".join(lines), flush=True)
    faults = [] if done.returncode == mistake.code else [f"exit code {done.returncode} instead of {mistake.code}"]
    everything = text + done.stdout if not command else text
    faults += [f"no word of {word!r}" for word in (w.format(**places) for w in mistake.says) if word not in everything]
    faults += [f"it says {word!r}" for word in NEVER if word in done.stderr]
    if command:
        if len(lines) > MOST_LINES or len(text) > MOST_BYTES:
            faults.append(f"{len(lines)} lines, {len(text)} bytes")
        if sum(line.startswith("trireme") for line in lines) != 1:
            faults.append("not one line of ours")
        if done.stdout:
            faults.append(f"stdout has {done.stdout[:80]!r}")
    checks.check(f"mistake: {mistake.what}", not faults, "; ".join(faults) + "\n" + done.stderr + done.stdout[:300])


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        model = tiny.model("tiny")
        done = tiny.put("first.jsonl", '{"prompt":"a"}\n')
        first = tiny.run(["run", done, "-m", model, "-o", tiny.path("done.jsonl"), "--max-tokens", "2"])
        checks.equal("a run without a mistake", first.returncode, 0)
        alone = subprocess.run([tiny.trireme, "run", done, "-m", model, "-o", tiny.path("alone.jsonl"), "--max-tokens", "2"], capture_output=True,
                               timeout=60, env=tiny.environment(SLURM_JOBID="5", SLURM_STEP_ID="0", SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0", SLURM_NODELIST="x"),
                               check=False)
        checks.equal("one task of srun without PMIx is no mistake", alone.returncode, 0)
        # Other ranks would wait for a rank whose environment does not say that there are others.
        command = [tiny.trireme, "run", done, "-m", model, "-o", tiny.path("unsaid.jsonl")]
        unsaid = subprocess.run(["mpirun", "-n", "1", *command, ":", "-n", "1", "env", "-u", "OMPI_COMM_WORLD_SIZE", *command[:3]],
                                capture_output=True, timeout=60, env=tiny.environment(), check=False)
        checks.check("a rank that fails alone ends all, whatever its environment says", unsaid.returncode == 64 and b"no model was named" in unsaid.stderr,
                     unsaid.stderr)
        check_unseen_cache(checks, tiny, model)
        put_files(tiny, model)
        places = {"m": model, "in": tiny.path("in.jsonl"), "out": tiny.path("out.jsonl"), "dir": tiny.folder,
                  **{name: small_disk(tiny, name, ballast) for name, ballast in DISKS.items()}}
        os.mkdir(tiny.path("held.jsonl.run"))
        with open(tiny.path("held.jsonl.run/lock"), "w", encoding="ascii") as lock:
            lock.write("process 1 on host n1")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                for mistake in MISTAKES:
                    check(checks, tiny, mistake, places, "--show" in sys.argv)
            finally:
                for disk in filter(None, map(places.get, DISKS)):
                    subprocess.run(["umount", disk], check=True)
    checks.end()


if __name__ == "__main__":
    main()

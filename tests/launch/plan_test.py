#!/usr/bin/env python3
"""trireme plan as people and scripts call it: fields of --json, exit codes, words, sizes of a real checkpoint, under a second.

    plan_test.py TRIREME MAKE_TINY_MODEL docs/planning.md"""

import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="trireme-plan-")  # nobody has calibrated this machine
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"])
trireme, make_tiny_model, planning_page = (os.path.abspath(path) for path in sys.argv[1:])
FIELDS = ["tp", "pp", "dp", "fits", "weight_bytes_per_device", "kv_bytes_per_device", "max_sequences", "decode_ms_per_token", "ttft_ms",
          "output_tokens_per_s", "bound_decode_ms", "bound_ttft_ms", "limiting_factor", "reason"]


def plan(*arguments, code=0):
    start = time.monotonic()
    done = subprocess.run([trireme, "plan", *arguments], capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert done.returncode == code, f"{arguments}: exit {done.returncode}, not {code}: {done.stderr}"
    return done.stdout, done.stderr, seconds


def plan_json(*arguments, code=0):
    out, err, _ = plan(*arguments, "--json", code=code)
    return json.loads(out), err


def check(truth, *what):
    if not truth:
        sys.exit(f"plan_test: {what}")


# What is planned otherwise than it is asked for is said.
out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "1 A100-80GB", "--precision", "fp8", "--engine-profile", "published")
check("a100-80gb multiplies no fp8" in out, out)
out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "3 h100", "--tp", "3", "--engine-profile", "published")
check("32 heads are not a multiple of TP 3" in out, out)

# The fields, the choice, one layout alone.
all70, _ = plan_json("--shape", "llama-3.1-70b", "--machine", "2 hosts x 8 h100 nvswitch, 8 ib400", "--precision", "fp8", "--batch", "16", "--context", "8192")
check(set(all70) == {"choice", "missing_in_trireme", "layouts"} and all70["choice"] == 0 and all70["missing_in_trireme"] is None, all70["choice"])
for layout in all70["layouts"]:
    check(list(layout) == FIELDS, list(layout))
    check(layout["tp"] * layout["pp"] * layout["dp"] == 16, layout)
    check(layout["decode_ms_per_token"] >= layout["bound_decode_ms"] > 0 and layout["ttft_ms"] >= layout["bound_ttft_ms"] > 0, layout)
    check(layout["fits"] == (layout["max_sequences"] >= 16), layout)
    check(layout["kv_bytes_per_device"] * layout["pp"] * min(layout["tp"], 8) == 16 * 8192 * 327680, layout)
one, _ = plan_json("--shape", "llama-3.1-70b", "--machine", "8 h100", "--tp", "2", "--pp", "2", "--dp", "2", "--objective", "latency")
check([(l["tp"], l["pp"], l["dp"]) for l in one["layouts"]] == [(2, 2, 2)], one)

# This engine is started only for what it has.
for kind, words in [(["--precision", "fp4"], "FP4 weights"), (["--precision", "fp8", "--kv", "fp8"], "FP8 keys and values")]:
    asked = ["--shape", "llama-3.1-8b", "--machine", "8 b200", "--batch", "4", *kind]
    out, _, _ = plan(*asked)
    check(f"Trireme cannot run this: it has no {words}" in out and "start it" not in out, out)
    check(plan_json(*asked)[0]["missing_in_trireme"].startswith(words), kind)

# What cannot be.
none, err = plan_json("--shape", "llama-3.1-405b", "--machine", "8 h100", code=78)
check(none["choice"] is None and all(not l["fits"] for l in none["layouts"]), none)
check("nothing fits: weights do not fit" in err and "--precision fp8 with " in err and "would fit" in err, err)


def follow(arguments, way):
    """The arguments with one way of an error's line: options with other values, another machine, or another layout."""
    change, _, layout = way.rpartition(" with ")
    arguments = list(arguments)
    words = change.split() if change.startswith("--") else ["--machine", change] if change else []
    for option, value in zip(words[::2], words[1::2]):
        if option in arguments:
            arguments[arguments.index(option) + 1] = value
        else:
            arguments += [option, value]
    if not change:
        del arguments[arguments.index("--tp"):]
    degrees = {"TP": "1", "PP": "1", "DP": "1"} | dict(word.split() for word in layout.split(" x ") if word != "1 device")
    return arguments, [int(n) for n in degrees.values()]


# Whatever is offered in place of what does not fit, fits, promises and all.
for shape, machine, *load in [
        ("llama-3.1-405b", "8 h100"), ("llama-3.1-405b", "2 h100"), ("llama-3.1-8b", "1 h100", "--rate", "100"), ("llama-3.1-8b", "8 h100", "--slo-tpot", "0.0001"),
        ("llama-3.1-70b", "8 h100", "--batch", "64", "--slo-tpot", "20"), ("llama-3.1-70b", "8 h100", "--batch", "16", "--input-len", "4000", "--slo-ttft", "100"),
        ("llama-3.1-70b", "8 h100", "--slo-ttft", "10", "--slo-tpot", "5"), ("llama-3.1-8b", "8 h100", "--rate", "1000", "--slo-tpot", "12", "--objective", "cost"),
        ("llama-3.1-70b", "8 h100", "--input-len", "100000", "--batch", "64"), ("llama-3.1-70b", "8 h100", "--context", "2000000"),
        ("llama-3.1-70b", "8 h100", "--context", "200000", "--output-len", "300", "--batch", "32"), ("llama-3.1-8b", "8 h100", "--batch", "100000"),
        ("llama-3.1-70b", "8 h100", "--tp", "1", "--pp", "1", "--dp", "1")]:
    asked = ["--shape", shape, "--machine", machine, *load]
    _, err = plan_json(*asked, code=78)
    check(err.endswith(" would fit\n"), asked, err)
    for way in err.rpartition("; ")[2].removesuffix(" would fit\n").split(", or "):
        followed, layout = follow(asked, way)
        best = plan_json(*followed)[0]["layouts"][0]
        check([best["tp"], best["pp"], best["dp"]] == layout, asked, way, best)
full, err = plan_json("--shape", "llama-3.1-70b", "--machine", "8 h100", "--precision", "fp8", "--tp", "2", "--pp", "1", "--dp", "1", "--input-len", "8192",
                      "--output-len", "1024", "--batch", "64", code=78)
check(full["layouts"][0]["ttft_ms"] > 10000 and "KV for 64 x 9216 does not" in full["layouts"][0]["reason"], full)
for arguments, code, words in [
        (["--shape", "llama-3.1-8b", "--machine", "8 h1000"], 64, "column 3"),
        (["--shape", "llama-3.1-8b", "--machine", "nowhere.json"], 66, "there is no file 'nowhere.json'"),
        (["--machine", "8 h100"], 64, "no model was given; give one of -m MODEL, --config config.json and --shape NAME"),
        (["--shape", "llama-3.1-8b", "--machine", ""], 64, "option --machine is empty; it takes FILE|SPEC|here"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h1000"], 64, "--machine '8 h1000', column 3: there stands 'h1000'"),
        (["--shape", "llama-9", "--machine", "8 h100"], 64, "--shape: there is no shape 'llama-9'"),
        (["--shape", "LLama3.1-8b", "--machine", "8 h100"], 64, "(did you mean llama-3.1-8b?)"),
        (["--shape", "x\x1b[31m\ny", "--machine", "8 h100"], 64, "there is no shape 'x?[31m y'"),
        (["--config", "no\nwhere\x9b.json", "--machine", "8 h100"], 66, "no where"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--precision", "fp9"], 64, "it takes one of auto, bf16, fp8, fp4, int8, int4"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--precision", "awq"], 64, "did you mean int4?"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--batch", "0"], 64, "--batch is '0'"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--tp", "16"], 78, "tp 16 x pp 1 x dp 1 = 16 devices; 1 host x 8 h100 nvswitch has 8"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--batch", "4", "--rate", "2"], 64, "keep one"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--context", "100", "--input-len", "90", "--output-len", "20"], 64, "raise it"),
        (["--shape", "llama-3.1-8b", "--machine", "8 h100", "--engine-profile", "vllm"], 64, "there are published, trireme"),
        (["--config", "/nowhere/config.json", "--machine", "8 h100"], 66, "/nowhere/config.json"),
        (["-m", "/nowhere.h5", "--machine", "8 h100"], 66, "there is no model '/nowhere.h5'")]:
    _, err, _ = plan(*arguments, code=code)
    check(words in err and err.count("\n") == 1, arguments, err)

# A checkpoint that others have quantized is planned as its config.json says, or as asked.
config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
          "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
          "bos_token_id": 128000, "eos_token_id": 128001, "tie_word_embeddings": False}
groups = {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}
for quantization, bits in (({"quant_method": "fp8"}, "8 bits"), ({"quant_method": "awq", "bits": 4}, "4.25 bits"), ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "8 bits"),
                           ({"quant_method": "compressed-tensors", "config_groups": groups}, "4.25 bits"), ({"quant_method": "mxfp4"}, "4.5 bits"),
                           ({"quant_method": "modelopt", "quant_algo": "FP8"}, "8 bits"), ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "4.5 bits")):
    path = os.path.join(os.environ["XDG_CACHE_HOME"], "config.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**config, "quantization_config": quantization}, file)
    check(f"8.0 billion parameters, {bits} a weight" in plan("--config", path, "--machine", "1 h100")[0], quantization)
    check("16 bits a weight" in plan("--config", path, "--machine", "1 h100", "--precision", "bf16")[0], quantization)
for quantization in ({"quant_method": "aqlm"}, {"quant_method": 7}, [], {"quant_method": "gptq", "bits": "four"}):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**config, "quantization_config": quantization}, file)
    check("give --precision" in plan("--config", path, "--machine", "1 h100", code=65)[1], quantization)

# So are keys and values, but where this engine, which has no such ones, is planned for.
def plan_config(of, *arguments, code=0):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(of, file)
    out, err, _ = plan("--config", path, "--machine", "8 h100", *arguments, code=code)
    return err if code else out


eight = {**config, "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
for options, words in ((["--batch", "4"], "1-byte keys"), (["--batch", "4", "--kv", "bf16"], "2-byte keys"), (["--engine-profile", "trireme"], "2-byte keys")):
    check(words in plan_config(eight, *options), options)

# FP8 keys and values take half the memory and half the reading. With a batch nobody has them who does not ask.
asked = ["--shape", "llama-3.1-70b", "--machine", "4 h100", "--precision", "fp8", "--tp", "4", "--pp", "1", "--dp", "1", "--context", "8192", "--batch", "32"]
half, whole, unsaid = (plan_json(*asked, *kv)[0]["layouts"][0] for kv in (["--kv", "fp8"], ["--kv", "bf16"], []))
check(2 * half["kv_bytes_per_device"] == whole["kv_bytes_per_device"] and half["max_sequences"] // 2 == whole["max_sequences"], half, whole)
check(half["decode_ms_per_token"] < whole["decode_ms_per_token"] and half["bound_decode_ms"] < whole["bound_decode_ms"], half, whole)
check(unsaid == whole, unsaid)

# A window's keys and values alone are kept, but by this engine.
windowed = {**config, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 4096}
for profile, kept, words in (("published", 4096, "keeps that alone"), ("trireme", 32768, "keeps all positions")):
    one_gpu = ["--context", "32768", "--batch", "2", "--tp", "1", "--pp", "1", "--dp", "1", "--engine-profile", profile]
    check(f"32 of 32 layers see a window; their cache {words}\n" in plan_config(windowed, *one_gpu), profile)
    check(json.loads(plan_config(windowed, *one_gpu, "--json"))["layouts"][0]["kv_bytes_per_device"] == 2 * kept * 131072, profile)

# Of a family that this engine does not run the sizes are planned, for others.
falcon = {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "multi_query": True, "vocab_size": 65024}
gemma = {"model_type": "gemma3", "vision_config": {}, "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}}
for foreign, billions in ((falcon, "6.9"), (gemma, "3.9")):
    out = plan_config(foreign)
    check(f"{billions} billion parameters" in out and f"Trireme does not run {foreign['model_type']}: planned by the sizes of its language model alone\n" in out, out)
    check(f"Trireme cannot run this: it has no model_type {foreign['model_type']}" in out and "start it" not in out, out)
    check(json.loads(plan_config(foreign, "--json"))["missing_in_trireme"] == f"model_type {foreign['model_type']}", foreign)
    err = plan_config(foreign, "--engine-profile", "trireme", code=64)
    check(f"does not run {foreign['model_type']}; --engine-profile published plans its sizes" in err, err)
for changes, words in (({"num_hidden_layers": -1}, "num_hidden_layers is -1"), ({"num_hidden_layers": 10 ** 30}, "num_hidden_layers is "), ({"hidden_size": "wide"}, "hidden_size is "),
                       ({"num_attention_heads": None}, "num_attention_heads is missing"), ({"text_config": []}, "text_config is no JSON object"),
                       ({"model_type": ["falcon"]}, "model_type is no text"), ({"kv_lora_rank": 512}, "kv_lora_rank means MLA"), ({"model_type": "t5"}, "a plan knows the sizes of: llama")):
    err = plan_config({**falcon, **changes}, code=65)
    check(f"{path}: the model's " in err and words in err and err.count("\n") == 1, changes, err)

# At a rate there is room for three times the root more than run as a mean, and what fewer bits gain is time: the tokens are as many.
out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "8 h100", "--objective", "cost", "--gpu-hour", "2.5", "--rate", "10")
in_flight = re.search(r"^> 1 device +yes +[\d.]+ +[\d.]+ +\d+ +(\d+) ", out, re.MULTILINE)  # a mean, rounded
started = re.findall(r"--max-seqs (\d+)", out)
check(in_flight and len(started) == 2 and abs(int(started[0]) - int(in_flight[1]) - 3 * int(in_flight[1]) ** 0.5) <= 2, out)
check(re.search(r"^at fp8 .*; 1 device: [\d.]+ ms a token in place of [\d.]+$", out, re.MULTILINE), out)

# Requests of one token are no more than the GPU has arithmetic for, 71 ms each (src/plan/bound.h); those in flight wait for each other's prompts.
scoring, _ = plan_json("--shape", "llama-3.1-8b", "--machine", "1 h100", "--input-len", "4096", "--output-len", "1")
check(scoring["layouts"][0]["output_tokens_per_s"] < 1000 / 71 and scoring["layouts"][0]["ttft_ms"] > 5000, scoring)

# The line of the chosen layout says what is true of it: at a rate all that fit make as many tokens.
for objective, words in (("throughput", "the simplest of those that answer 3 requests/s"), ("cost", "the cheapest tokens of those that answer 3 requests/s"),
                         ("latency", "the fastest tokens of those that answer 3 requests/s")):
    out, _, _ = plan("--shape", "Llama-3.1-8B", "--machine", "8 h100", "--rate", "3", "--objective", objective)
    check(re.search(rf"^take .*{words}", out, re.MULTILINE), words, out)

# GB per device: weights, and keys and values of those in flight. Of CPUs the error of decoding there is known.
out, _, _ = plan("--shape", "llama-3.1-70b", "--machine", "8 h100", "--tp", "8", "--pp", "1", "--dp", "1", "--context", "8192", "--batch", "16")
check("GB per device" in out and re.search(r"^> TP 8 +yes +17\.6 +5\.4 ", out, re.MULTILINE), out)
for objective, error in (("latency", "10%"), ("throughput", "?")):
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "1 xeon-6980p", "--engine-profile", "published", "--objective", objective)
    check(re.search(rf"^> 1 device .* {re.escape(error)}$", out, re.MULTILINE), out)


# What the printed lines say to the programs that they name, as a shell and their parsers take it.
def started(*arguments):
    lines = plan(*arguments)[0].partition("start it:\n")[2].splitlines()
    done = []
    for words in map(shlex.split, lines):
        if words[0] == "sbatch":
            check(words[-2] == "--wrap", words)
            words = shlex.split(words[-1])
        words = words[words.index("trireme") + 1:]
        parsed = subprocess.run([trireme, *words, "--print-config"], capture_output=True, text=True)
        check(parsed.returncode == 0, words, parsed.stderr)
        done.append({"command": words[0], **dict(re.findall(r"^([\w-]+) = (.*?)  # command line$", parsed.stdout, re.MULTILINE))})
    check(done[-1] == done[-2] and done[-1]["command"] == "run" and len(done) <= 3, done)
    return done[-1], done[0] if len(done) == 3 else None


on_one = ["--tp", "1", "--pp", "1", "--dp", "1"]
run, convert = started("--shape", "llama-3.1-8b", "--machine", "8 h100", "--output-len", "1000", "--batch", "4")
check(convert is None and run["model"] == "MODEL" and run["max-tokens"] == "1000" and run["max-seqs"] == "4" and run["device"] == "cuda", run)
check("max-tokens" not in started("--shape", "llama-3.1-8b", "--machine", "8 h100")[0], "the default of both is one number")
run, convert = started("--shape", "smollm2-135m", "--machine", "1 h200", "--input-len", "8", "--output-len", "8", "--batch", "100000", *on_one)
check(run["max-seqs"] == "65536", run)
run, convert = started("--shape", "llama-3.1-8b", "--machine", "8 h100", "--precision", "fp8", "--kv", "bf16")
check(convert == {"command": "convert", "output": "MODEL-fp8.h5", "dtype": "fp8"} and run["model"] == "MODEL-fp8.h5", run, convert)
check(started("--shape", "llama-3.1-8b", "--machine", "8 h100", "--precision", "bf16")[1] is None, "BF16 is what the shape's model has")

# TP groups over slow links are started by hand alone, with what a run wants then; those over hosts want nothing.
for machine, tp, flag in (("8 l40s", "8", True), ("2 xeon-6980p", "2", True), ("8 l40s", "4", False), ("2 hosts x 1 h100", "2", False)):
    asked = ["--shape", "llama-3.1-8b", "--machine", machine, "--objective", "latency"]
    run, _ = started(*asked, "--tp", tp, "--pp", "1", "--dp", "1")
    check(run.get("allow-slow-placement") == ("true" if flag else None), machine, run)
    run, _ = started(*asked)
    check("allow-slow-placement" not in run and (not flag or int(run["tp"]) < int(tp)), machine, run)

# Variables are of one option; those of other commands' options of the same name are not plan's.
for variables, arguments, code in (({"TRIREME_CONFIG": "/nowhere.conf", "TRIREME_BATCH": "1,2"}, ["--shape", "llama-3.1-8b"], 0), ({"TRIREME_MODEL": "/nowhere.h5"}, ["--shape", "llama-3.1-8b"], 0),
                                   ({"TRIREME_SHAPE": "llama-3.1-8b"}, [], 0), ({"TRIREME_MODEL": "/nowhere.h5"}, [], 66), ({}, ["--shape", "llama-3.1-8b", "-m", "m.h5"], 64)):
    done = subprocess.run([trireme, "plan", "--machine", "1 h100", *arguments], capture_output=True, text=True, env={**os.environ, **variables})
    check(done.returncode == code and ("in flight as the objective likes" in done.stdout) == (code == 0), variables, arguments, done)

# Words, the launch lines, a second at most (of a loaded machine).
out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "8 h100", "--gpu-hour", "2.5")
for words in ("> DP 8", "take DP 8: the most tokens a second", "8 replicas give", "mpirun -n 8 ", "sbatch --nodes=1", "interactive, one user a replica", "cost per"):
    check(words in out, words, out)
for tokens, noted in (("200000", True), ("100000", False)):
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", "1 h100", "--input-len", tokens)
    check(("\n  the model was made for 131072 positions; longer sequences want a stretched RoPE\n" in out) == noted, out)
out = plan("--shape", "llama-3.1-8b", "--precision", "int8", "--machine", "2 hosts x 2 epyc-9654", "--batch", "4", "--tp", "2", "--pp", "1", "--dp", "2")[0]
for words in ("--map-by ppr:2:node:PE=96 ", "--cpus-per-task=96 --wrap", "srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=96 trireme run"):  # else a rank gets one core of its socket
    check(words in out, out)
fastest = min(plan("--shape", "llama-3.1-405b", "--machine", "4 hosts x 8 h200", "--precision", "fp8")[2] for _ in range(3))
check(fastest < 1, fastest)
# Where nothing fits, larger machines are looked for; how long that takes is told alone.
seconds = plan("--shape", "llama-2-70b", "--machine", "4 hosts x 6 a100-80gb", "--engine-profile", "trireme", "--input-len", "30000", "--slo-ttft", "200", code=78)[2]
print(f"{seconds:.2f} s where nothing fits")

# What quantizing gives, as it is advised, is what the same command with --precision gives: keys and values may change with the weights.
for model, machine, *load in [("llama-3.1-70b", "8 h100", "--input-len", "1000", "--output-len", "1000"), ("llama-3.1-8b", "1 h100"), ("llama-3.1-8b", "8 b200", "--batch", "8")]:
    asked = ["--shape", model, "--machine", machine, *load]
    advised = re.findall(r"^at (\w+) .*: (\d+) tok/s in place of (\d+)$", plan(*asked)[0], re.MULTILINE)
    check(len(advised) == 2, asked)
    for precision, lower, own in advised:
        for options, tokens in ([], own), (["--precision", precision], lower):
            check(f"{plan_json(*asked, *options)[0]['layouts'][0]['output_tokens_per_s']:.0f}" == tokens, asked, precision, advised)

# A map as it was dumped is the machine that it was made of; CPUs are the cores of their hosts, loaded as a run loads them when nobody says how.
def dump(folder, spec):
    path = os.path.join(folder, "map.json")
    subprocess.run([trireme, "topology", "--synthetic", spec, "--dump", path], check=True, stdout=subprocess.DEVNULL)
    return path


with tempfile.TemporaryDirectory() as folder:
    spec = "2 hosts x 8 h100 nvswitch, 8 ib400"
    check(plan_json("--shape", "llama-3.1-70b", "--machine", dump(folder, spec))[0] == plan_json("--shape", "llama-3.1-70b", "--machine", spec)[0], spec)
    cpus = dump(folder, "2 hosts x 1 epyc-9654, 1 ib400")
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", cpus, "--engine-profile", "trireme")
    for words in ("2 hosts x 96 cores of epyc-9654, 1 ib400\n", "the CPUs read 390.0 GB/s of it, by the data sheet of epyc-9654\n", "16 a replica at most", "--max-seqs 16\n"):
        check(words in out, words, out)
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", cpus, "--engine-profile", "trireme", "--batch", "64")
    check("--max-seqs 64\n" in out, out)
    for layout in ([1, 1, 1], [3, 1, 1]):  # two hosts, one of which has less to do
        options = [word for name, degree in zip(("--tp", "--pp", "--dp"), layout) for word in (name, str(degree))]
        asked, _ = plan_json("--shape", "smollm2-135m", "--machine", cpus, *options)
        check([[l["tp"], l["pp"], l["dp"]] for l in asked["layouts"]] == [layout], asked)
    cores = dump(folder, "package:1 numa:1(memory=17179869184) core:8 pu:2")
    out, _, _ = plan("--shape", "smollm2-135m", "--machine", cores)
    check("1 host x 8 cores\n" in out and "a guess by its cores" in out and "--max-seqs 16\n" in out, out)
    for degree in ("tp", "pp", "dp"):  # 3 does not divide 8
        asked, _ = plan_json("--shape", "smollm2-135m", "--machine", cores, f"--{degree}", "3")
        check(asked["layouts"] and all(l[degree] == 3 for l in asked["layouts"]), asked)
        check({l["tp"] * l["pp"] * l["dp"] for l in asked["layouts"]} == {3, 6}, asked)
    # Hundreds of layouts are for scripts.
    sockets = dump(folder, "1 host x 2 epyc-9654")
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", sockets)
    many, _ = plan_json("--shape", "llama-3.1-8b", "--machine", sockets)
    check(out.count("\n") < 80 and out.count(f"\n... and {len(many['layouts']) - 24} more (--json has all)\n") == 2, out)
    with open(cores, encoding="utf-8") as file:
        unknown = json.load(file)
    unknown["hosts"][0]["gpus"] = [{"index": 0, "name": "Tesla V100", "uuid": "GPU-0"}]
    unknown["ranks"][0]["visible_gpus"] = ["GPU-0"]
    with open(cores, "w", encoding="utf-8") as file:
        json.dump(unknown, file)
    _, err, _ = plan("--shape", "smollm2-135m", "--machine", cores, code=78)
    check("there is no data sheet of Tesla V100; describe the machine in a JSON file" in err, err)
here, _, _ = plan("--shape", "smollm2-135m", "--machine", "here", "--engine-profile", "trireme")
check("as the driver has it" in here or ", measured\n" in here, here)


# docs/planning.md: what it shows is what its commands print. A command is a line "    $ trireme ...", its output the indented lines below, in their
# order; "..." stands for lines that are left out.
def shown(page):
    with open(page, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    commands = []
    for line, before in zip(lines, ["", *lines]):
        if line.startswith("    $ "):
            commands.append((shlex.split(line[6:]), []))
        elif line.startswith("    ") and before.startswith("    ") and commands:
            commands[-1][1].append(line[4:])
    return commands


with tempfile.TemporaryDirectory() as folder:
    commands = shown(planning_page)
    check(len(commands) >= 8, commands)
    for (program, *arguments), output in commands:
        check(program == "trireme", program)
        done = subprocess.run([trireme, *arguments], cwd=folder, capture_output=True, text=True)
        check(done.returncode == 0, arguments, done.stderr)
        printed = iter([line.rstrip() for line in done.stdout.splitlines()])
        for line in output:  # `in` reads on to the line: what follows must come after it
            check(line == "..." or line in printed, "trireme", *arguments, "does not print, or not there:", line)

# A machine in a file; a model's own sizes.
with tempfile.TemporaryDirectory() as folder:
    machine = os.path.join(folder, "machine.json")
    with open(machine, "w", encoding="utf-8") as file:
        json.dump({"hosts": 2, "devices": 4, "device": {"name": "x1", "memory_gb": 64, "memory_gbps": 1000, "bf16_tflops": 200}, "nics": 1, "nic": "roce100"}, file)
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", machine)
    check("2 hosts x 4 x1 pcie, 1 roce100" in out, out)
    for text, words in (('{"hosts": 1, "hosts": 2, "device": "h100"}', 'an object has the field "hosts" twice; keep one'), ('{"devices": 8, "device": "h\\u001b1"}', "must be a device")):
        with open(machine, "w", encoding="utf-8") as file:
            file.write(text)
        _, err, _ = plan("--shape", "llama-3.1-8b", "--machine", machine, code=65)
        check(words in err and err.count("\n") == 1 and "\x1b" not in err, err)
    with open(machine, "w", encoding="utf-8") as file:
        json.dump({"device": {"name": "a\nb\x1b[31m", "memory_gb": 80, "memory_gbps": 1000, "bf16_tflops": 200}}, file)
    out, _, _ = plan("--shape", "llama-3.1-8b", "--machine", machine)
    check("1 host x 1 a b?[31m pcie\n" in out, out)
    config = os.path.join(folder, "config.json")
    with open(config, "w", encoding="utf-8") as file:
        json.dump({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                   "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}, file)
    same, _ = plan_json("--config", config, "--machine", "8 h100", "--tp", "4", "--pp", "1", "--dp", "1")
    shape, _ = plan_json("--shape", "llama-3.1-8b", "--machine", "8 h100", "--tp", "4", "--pp", "1", "--dp", "1")
    check(same["layouts"][0]["weight_bytes_per_device"] == shape["layouts"][0]["weight_bytes_per_device"], same, shape)
    gguf, h5 = os.path.join(folder, "tiny.gguf"), os.path.join(folder, "tiny.h5")
    subprocess.run([make_tiny_model, gguf, "--type", "q4_k_m", "--hidden", "256", "--intermediate", "512", "--heads", "4", "--kv-heads", "2", "--head-dim", "64"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([trireme, "convert", gguf, "-o", h5], check=True, capture_output=True)
    odd = os.path.join(folder, "it's a \"model\" of $HOME.gguf")
    os.rename(gguf, odd)
    own, convert = started("-m", odd, "--machine", "2 h100", "--context", "64")
    check(own["model"] == odd and convert is None, own)
    run, convert = started("-m", odd, "--machine", "2 h100", "--context", "64", "--precision", "int8")
    check(convert["output"] == run["model"] == "it's a \"model\" of $HOME-int8.h5" and convert["dtype"] == "int8", run, convert)
    check(started("-m", odd, "--machine", "2 h100", "--context", "64", "--precision", "int4")[1] is None, "it is of 4 bits")
    out, _, _ = plan("-m", h5, "--machine", "2 h100", "--context", "64", "--precision", "int8")
    check("\n  trireme convert SOURCE -o tiny-int8.h5 --dtype int8\n" in out, out)
    os.rename(odd, gguf)
    weights = [plan_json("-m", m, "--machine", "2 h100", "--tp", "2", "--pp", "1", "--dp", "1", "--context", "64")[0]["layouts"][0]["weight_bytes_per_device"]
               for m in (gguf, h5)]
    check(weights[0] == weights[1] > 0, weights)
print("plan: ok")

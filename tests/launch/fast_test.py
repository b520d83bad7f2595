#!/usr/bin/env python3
"""Whole runs with --numerics fast on the GPU that does not exist, with the cuBLASLt that does not exist (tests/testkit/cublaslt): near
standard's, whatever the layout; and what is said and done where the library is missing.

    fast_test.py BUILD"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny

# FP32 sums in another order differ in their last bits, which now and then moves a row's rounding to BF16 by one step, 2^-8 of a value.
NEAR = 0.1  # nats, of the log-prob of a token
TINY = ["--layers", "3", "--heads", "9", "--kv-heads", "3", "--head-dim", "32", "--hidden", "288", "--intermediate", "416", "--vocab", "259"]
SMOLLM2 = ["--layers", "2", "--heads", "9", "--kv-heads", "3", "--head-dim", "64", "--hidden", "576", "--intermediate", "1536", "--vocab", "300"]
LENGTHS = (1, 3, 20, 37)


def rows(lengths):
    return "".join(json.dumps({"token_ids": [(k * 37 + n) % 250 for k in range(n)], "max_tokens": 4}) + "\n" for n in lengths)


class Runs:
    def __init__(self, checks, tiny):
        self.checks, self.tiny = checks, tiny
        self.program = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
        self.libraries = os.path.join(tiny.build, "tests", "testkit", "cublaslt")

    def run(self, name, model, corpus, numerics, *options, ranks=1, acting="", ends=0, **env):
        """(the rows of the result, stderr, the fingerprint); rows are None when the run failed, as it may be asked to."""
        out = self.tiny.path("out.jsonl")
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        done = subprocess.run(
            [*launcher, self.program, "run", self.tiny.put("in.jsonl", corpus), "-m", model, "-o", out, "--device", "cuda", "--numerics", numerics, "--tokens",
             "--logprobs", "1", "--prompt-logprobs", "0", "--restart", "--log-level", "info", "--max-step-tokens", "16", "--max-seqs", "4", *options],
            capture_output=True, text=True, timeout=170, check=False,
            env=self.tiny.environment(LD_LIBRARY_PATH=self.libraries, TRIREME_TEST_CUBLASLT=acting, **env))
        if not self.checks.check(f"{name} ends with {ends}", done.returncode == ends, done.stderr) or ends != 0:
            return None, done.stderr, ""
        with open(out, encoding="utf-8") as file:
            text = file.read()
        with open(f"{out}.run/manifest.json", encoding="utf-8") as file:
            fingerprint = json.load(file)["identity"]["numerics"]
        return text, done.stderr, fingerprint


def numbers_of(value):
    """All log-probs of a result, in order."""
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers_of(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers_of(v)]
    return [value] if isinstance(value, float) else []


def farthest(a, b):
    return max((abs(x - y) for p, q in zip(a.splitlines(), b.splitlines(), strict=True)
                for x, y in zip(numbers_of(json.loads(p)), numbers_of(json.loads(q)), strict=True)), default=0)


def tokens_of(text):
    return [json.loads(line)["token_ids"] for line in text.splitlines()]


def check_near(runs, checks, name, model, lengths, layouts):
    standard, _, fingerprint = runs.run(f"{name} standard", model, rows(lengths), "standard")
    checks.check(f"{name}: standard says so", " standard kernels cuda-sm_80 " in fingerprint, fingerprint)
    for tp, pp, graphs in layouts:
        what = f"{name} fast tp {tp} pp {pp} graphs {graphs}"
        fast, said, fingerprint = runs.run(what, model, rows(lengths), "fast", "--tp", str(tp), "--pp", str(pp), "--cuda-graphs", graphs, ranks=tp * pp)
        if fast is None or standard is None:
            continue
        checks.check(f"{what}: the fingerprint names the library", " fast kernels cuda-sm_80+cublaslt-13.0.9 " in fingerprint, fingerprint)
        checks.check(f"{what}: nothing is missing", "cuBLASLt" not in said, said)
        checks.equal(f"{what}: standard's tokens", tokens_of(fast), tokens_of(standard))
        distance = farthest(fast, standard)
        print(f"{what}: {distance:.2g} nats at most from standard", flush=True)
        checks.check(f"{what}: near standard's log-probs, and not those", 0 < distance < NEAR, distance)
    return standard


def check_sums(runs, checks, model, standard):
    """By NCCL, where GPUs cannot open each other's memory: at any size."""
    library = ["--nccl", os.path.join(runs.tiny.build, "tests", "testkit", "nccl", "libnccl.so.2")]
    alone = {"TRIREME_EMULATED_GPUS": "4", "TRIREME_EMULATED_GPU_ALONE": "1"}
    sums = "sums by NCCL 2.28.9 (P2P/IPC)"
    for layout in ((2, 1), (3, 1), (2, 2)):
        tp, pp = layout
        what = f"sums by NCCL, tp {tp} pp {pp}"
        options = [*library, "--tp", str(tp), "--pp", str(pp)]
        fast, said, _ = runs.run(what, model, rows(LENGTHS), "fast", *options, ranks=tp * pp, **alone)
        if fast is None or standard is None:
            continue
        checks.check(f"{what}: it is said", f"group by NCCL 2.28.9 (P2P/IPC), {sums}" in said, said)
        checks.equal(f"{what}: standard's tokens", tokens_of(fast), tokens_of(standard))
        checks.check(f"{what}: near standard's log-probs, and not those", 0 < farthest(fast, standard) < NEAR, farthest(fast, standard))
        with open(runs.tiny.path("out.jsonl.run/status.json"), encoding="utf-8") as file:
            checks.check(f"{what}: status.json", sums.endswith(json.load(file)["ranks"][0]["motion"]["sums"]), what)
    two = ["--tp", "2", "--deadline-s", "2"]
    exact, said, _ = runs.run("standard", model, rows(LENGTHS), "standard", *library, *two, ranks=2, **alone)
    checks.check("standard never adds by it", exact == standard and "sums by" not in said, said)
    _, said, _ = runs.run("GPUs that reach each other", model, rows([1]), "fast", *library, *two, ranks=2, TRIREME_EMULATED_GPUS="2")
    checks.check("GPUs that reach each other: large sums", f"group by p2p, {sums} from 1024 KiB on" in said, said)
    _, said, _ = runs.run("no NCCL", model, rows([1]), "fast", "--nccl", "off", *two, ranks=2, TRIREME_EMULATED_GPUS="2")
    checks.check("without NCCL nothing is said of it", "NCCL" not in said and "sums by" not in said, said)
    # Of a rank's groups of calls the first are first messages and embeddings. A host first spins, which the emulated GPU makes long.
    for words, deadline, code, says in (("error=4@1", "30", 69, "a link went down"), ("late-error=4@0", "30", 69, "a link went down"),
                              ("hang=4@1", "2", 71, "has not finished its operations for 2 s; or it waits for another of the group of world ranks 0, 1 (NCCL)")):
        _, said, _ = runs.run(words, model, rows([3]), "fast", *library, "--tp", "2", "--deadline-s", deadline, ranks=2, ends=code, TRIREME_TEST_NCCL=words, **alone)
        checks.check(f"{words}: says {says!r}", says in said, said)


def check_missing(runs, checks, model, standard):
    for acting in ("dead", "old"):
        text, said, fingerprint = runs.run(f"a library that is {acting}", model, rows(LENGTHS), "fast", "--tp", "2", acting=acting, ranks=2)
        checks.equal(f"{acting}: standard's result", text, standard)
        checks.check(f"{acting}: the fingerprint says standard", " standard kernels cuda-sm_80 " in fingerprint, fingerprint)
        lines = re.findall(r"--numerics fast needs cuBLASLt, and rank 0 has none: .*; computing as standard\n", said)
        checks.check(f"{acting}: it is said in one line, once", len(lines) == 1, said)
    checks.check("dead: why", "does not start: CUBLAS_STATUS_NOT_INITIALIZED" in runs.run("dead", model, rows([1]), "fast", acting="dead")[1])


def check_version(runs, checks):
    done = subprocess.run([runs.program, "--version", "--verbose"], capture_output=True, text=True, timeout=60, check=False,
                          env=runs.tiny.environment(LD_LIBRARY_PATH=runs.libraries))
    line = next((line for line in done.stdout.splitlines() if line.startswith("cuBLASLt")), "")
    checks.check("--version --verbose shows the library", "13.0.9 (" in line and "libcublasLt.so.13)" in line, done.stdout)


def main():
    checks = Checks()
    with Tiny(sys.argv[1]) as tiny:
        runs = Runs(checks, tiny)
        tiny_bf16 = tiny.model("tiny", *TINY, "--type", "bf16", "--seed", "3")
        standard = check_near(runs, checks, "tiny", tiny_bf16, LENGTHS, [(1, 1, "on"), (1, 1, "off"), (2, 1, "on"), (3, 1, "on"), (1, 2, "on")])
        check_near(runs, checks, "SmolLM2's layer", tiny.model("smollm2", *SMOLLM2, "--type", "bf16", "--seed", "4"), (5,), [(1, 1, "on")])
        q4 = tiny.model("q4", *TINY, "--type", "q4_1", "--seed", "3")
        results = [runs.run(f"codes, {numerics}", q4, rows([20]), numerics)[0] for numerics in ("standard", "fast")]
        checks.equal("codes are multiplied as in standard", results[1], results[0])
        check_sums(runs, checks, tiny_bf16, standard)
        check_missing(runs, checks, tiny_bf16, standard)
        check_version(runs, checks)
    checks.end()


if __name__ == "__main__":
    main()

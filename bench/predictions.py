#!/usr/bin/env python3
"""How far the planner is off on this machine: what steps took in real runs, beside what it says of such steps.

Runs every layout that has a core for each rank, with each batch and each prompt length, of each model, in --repeats rounds.
Each round begins with a calibration (`trireme bench --calibrate`, some minutes; --keep: takes the one that there is), and
has each run once. A run says itself what its steps took and what was planned for them ("steps" of status.json). The
medians over the rounds count, of both: a machine that drifts for minutes spoils a round of a run, or a calibration, not all.

    bench/predictions.py MODEL... [--trireme build/trireme] [--batches 1,4,8,16] [--contexts 128,512] [--repeats 3] [--keep]"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

NEW_TOKENS = 64
ROUNDS = 3  # of documents: the first touches memory that nobody has touched
LIMITS = {"decode": 0.12, "prefill": 0.15}
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_hwloc_base_binding_policy": "none"}
WORDS = "the lease shall not be assigned without prior written consent of either party and its successors in interest".split()


def call(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **MPI})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


def layouts(cores):
    """Every (tp, pp, dp) of a number of ranks that divides the cores."""
    for ranks in (n for n in range(1, cores + 1) if cores % n == 0):
        for tp in (t for t in range(1, ranks + 1) if ranks % t == 0):
            for pp in (p for p in range(1, ranks // tp + 1) if ranks // tp % p == 0):
                yield tp, pp, ranks // tp // pp


def write_documents(path, count, tokens):
    """Of common English words, a token each."""
    rng = random.Random(tokens)
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            file.write(json.dumps({"id": str(i), "prompt": " ".join(rng.choice(WORDS) for _ in range(tokens))}) + "\n")


def measure(trireme, model, layout, batch, context, folder):
    tp, pp, dp = layout
    documents, output = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
    write_documents(documents, ROUNDS * batch * dp, context)
    launch = ["mpirun", "-n", str(tp * pp * dp)] if tp * pp * dp > 1 else []
    call([*launch, trireme, "run", documents, "-m", model, "-o", output, "--tp", str(tp), "--pp", str(pp), "--dp", str(dp), "--max-seqs", str(batch),
          "--max-tokens", str(NEW_TOKENS), "--ignore-eos", "--restart", "--log-level", "error"])
    with open(os.path.join(output + ".run", "status.json"), encoding="utf-8") as file:
        return json.load(file)["steps"]


def calibrate(trireme, cores):
    print(call([trireme, "bench", "--calibrate"]), end="", flush=True)
    if cores > 1:
        print(call(["mpirun", "-n", str(cores), trireme, "bench", "--calibrate"]), end="", flush=True)


def measure_rounds(args, runs, cores):
    """For each run what its steps took, round by round."""
    samples = [[] for _ in runs]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, args.repeats + 1):
            start = time.monotonic()
            if not args.keep:
                calibrate(args.trireme, cores)
            for run, taken in zip(runs, samples):
                taken.append(measure(args.trireme, *run, folder))
            print(f"round {number} of {args.repeats}: {len(runs)} runs in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return samples


def errors(samples):
    """(measured, planned) of decode (ms) and prefill (tok/s): medians of the samples."""
    def median(field):
        return statistics.median(s[field] for s in samples)
    return {"decode": (median("decode_ms_per_token"), median("planned_decode_ms_per_token")),
            "prefill": (median("prefill_tokens_per_second"), median("planned_prefill_tokens_per_second"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--trireme", default="build/trireme")
    parser.add_argument("--batches", default="1,4,8,16")
    parser.add_argument("--contexts", default="128,512")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="the calibration that there is")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    runs = [(model, layout, batch, context) for model in args.models for layout in layouts(cores)
            for batch in map(int, args.batches.split(",")) for context in map(int, args.contexts.split(","))]
    off = {"decode": [], "prefill": []}
    rounds = measure_rounds(args, runs, cores)
    print(f"{'model':<34} {'tp pp dp':<9} batch context   decode ms: measured planned  off   prefill tok/s: measured planned  off")
    for (model, layout, batch, context), samples in zip(runs, rounds):
        both = errors(samples)
        shares = {name: planned / measured - 1 for name, (measured, planned) in both.items()}
        for name, share in shares.items():
            off[name].append(abs(share))
        print(f"{os.path.basename(model):<34} {' '.join(map(str, layout)):<9} {batch:>5} {context:>7}"
              f"{both['decode'][0]:>21.2f} {both['decode'][1]:>7.2f} {shares['decode']:>+5.0%}"
              f"{both['prefill'][0]:>25.0f} {both['prefill'][1]:>7.0f} {shares['prefill']:>+5.0%}")
    for name, shares in off.items():
        inside = sum(share <= LIMITS[name] for share in shares)
        print(f"{name}: {inside} of {len(shares)} within {LIMITS[name]:.0%}; median {statistics.median(shares):.1%}, worst {max(shares):.1%}")


if __name__ == "__main__":
    main()

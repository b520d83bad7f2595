#!/usr/bin/env python3
"""What options of sampling cost: a decode step of each beside a greedy one, by what runs say that their steps took
("steps" of status.json). All are run in turn, --repeats times; the medians of the ratios count, and their range.

    bench/sampling.py MODEL [--trireme build/trireme] [--batch 16] [--repeats 5] [--ranks 1]"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_hwloc_base_binding_policy": "none"}
NEW_TOKENS = 64
OPTIONS = ["", "--digest", "--logprobs 5", "--temperature 0.8", "--temperature 0.8 --top-k 40", "--temperature 0.8 --top-p 0.95",
           "--temperature 1 --top-p 0.95", "--temperature 1.5 --top-p 0.99", "--temperature 0.8 --top-k 1000 --top-p 0.95"]


def step_ms(args, options, folder):
    documents, output = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
    with open(documents, "w", encoding="utf-8") as file:
        for i in range(2 * args.batch):
            file.write(json.dumps({"id": i, "prompt": f"Clause {i} of the lease says that"}) + "\n")
    launch = ["mpirun", "-n", str(args.ranks)] if args.ranks > 1 else []
    subprocess.run([*launch, args.trireme, "run", documents, "-m", args.model, "-o", output, "--tp", str(args.ranks), "--max-seqs", str(args.batch),
                    "--max-tokens", str(NEW_TOKENS), "--ignore-eos", "--restart", "--log-level", "error", *options.split()],
                   check=True, stderr=subprocess.DEVNULL, env={**os.environ, **MPI})
    with open(output, encoding="utf-8") as file:
        counts = [json.loads(line)["usage"]["completion_tokens"] for line in file]
    if counts != [NEW_TOKENS] * (2 * args.batch):
        raise SystemExit(f"{options or 'greedy'}: not {NEW_TOKENS} tokens of each document: {counts}")
    with open(output + ".run/status.json", encoding="utf-8") as file:
        return json.load(file)["steps"]["decode_ms_per_token"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--trireme", default="build/trireme")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    args = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            rounds.append([step_ms(args, options, folder) for options in OPTIONS])
    print(f"{'options':<45} {'ms a step':>9}   times greedy (median, range)")
    for i, options in enumerate(OPTIONS):
        ratios = [taken[i] / taken[0] for taken in rounds]
        print(f"{options or 'greedy':<45} {statistics.median(taken[i] for taken in rounds):>9.2f}   "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares trireme with the committed reference smollm2_fp32.json (transformers in FP32). Needs nothing but Python.

    tests/golden/check.py build/trireme [--ranks N] [--device cuda]

exact: every log-prob of every position within 1e-3, greedy tokens equal except where the reference's own margin is under 0.02.
standard: reported, and kept from going astray (its real measure is quality.py). Last line: N passed, N failed, N skipped."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LOGPROB_TOLERANCE = 1e-3   # exact against transformers in FP32; about 0.0001 here
GREEDY_MARGIN = 0.02       # a lead of the best token that the reference itself does not vouch for
STANDARD_MEAN = 0.05       # of standard, mean |log-prob difference| where the probability is; about 0.03 here


def model_path():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return os.environ.get("TRIREME_TEST_MODEL", os.path.join(cache, "trireme", "SmolLM2-135M-Instruct.Q4_1.gguf"))


def run_all(args, prompts, numerics, folder):
    rows, out = os.path.join(folder, "prompts.jsonl"), os.path.join(folder, f"{numerics}.jsonl")
    with open(rows, "w", encoding="utf-8") as file:
        for i, prompt in enumerate(prompts):
            file.write(json.dumps({"id": i, "token_ids": prompt["token_ids"]}) + "\n")
    launcher = ["mpirun", "-n", str(args.ranks)] if args.ranks > 1 else []
    command = [*launcher, args.trireme, "run", rows, "-m", model_path(), "-o", out, "--device", args.device, "--numerics", numerics, "--max-tokens", "32", "--ignore-eos",
               "--tokens", "--logprobs", "0", "--prompt-logprobs", "5", "--log-level", "error", "--restart"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()[-800:]}\n0 passed, 1 failed, 0 skipped")
    with open(out, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def logprob_differences(prompt, result):
    """One for every position of the prompt but the first, then one for each of the reference's five best that we list too."""
    for i, entry in enumerate(result["prompt_logprobs"][1:]):
        yield abs(entry["logprob"] - prompt["logprobs"][i])
        theirs = dict(map(tuple, prompt["top"][i]))
        for token, logprob in entry["top"]:
            if token in theirs:
                yield abs(logprob - theirs[token])


def expected_difference(prompt, result):
    """For each position: |log-prob difference| of the reference's best tokens, weighted by their probabilities."""
    for entry, top in zip(result["prompt_logprobs"][1:], prompt["top"]):
        ours = dict(map(tuple, entry["top"]))
        yield sum(math.exp(p) * abs(ours[token] - p) for token, p in top if token in ours)


def greedy_fault(prompt, result):
    """The first place where the tokens part although the reference is sure, or None. After a doubtful place all may differ."""
    for j, (ours, theirs) in enumerate(zip(result["token_ids"], prompt["greedy"])):
        if ours != theirs:
            return None if prompt["margins"][j] < GREEDY_MARGIN else f"token {j}: {ours} instead of {theirs}, margin {prompt['margins'][j]}"
    return None if len(result["token_ids"]) == len(prompt["greedy"]) else f"{len(result['token_ids'])} tokens came"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trireme")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    if not os.path.exists(model_path()):
        print("skipped: golden log-probs of SmolLM2: no model at", model_path())
        print("0 passed, 0 failed, 1 skipped")
        return 0
    with open(os.path.join(HERE, "smollm2_fp32.json"), encoding="utf-8") as file:
        prompts = json.load(file)["prompts"]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for prompt, result in zip(prompts, run_all(args, prompts, "exact", folder)):
            worst = max(logprob_differences(prompt, result), default=0)
            fault = greedy_fault(prompt, result) or (f"log-prob off by {worst:.5f}" if worst > LOGPROB_TOLERANCE else None)
            print(f"exact: {prompt['name']}: {fault or f'worst log-prob difference {worst:.6f}'}")
            passed, failed = passed + (not fault), failed + bool(fault)
        results = run_all(args, prompts, "standard", folder)
        differences = [d for prompt, result in zip(prompts, results) for d in expected_difference(prompt, result)]
        mean = sum(differences) / len(differences)
        print(f"standard: mean log-prob difference {mean:.5f}, worst position {max(differences):.4f}, over {len(differences)} positions")
        passed, failed = passed + (mean <= STANDARD_MEAN), failed + (mean > STANDARD_MEAN)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

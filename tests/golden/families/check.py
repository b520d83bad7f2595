#!/usr/bin/env python3
"""Compares trireme with goldens.json: what transformers computes in FP32 for tiny models of every family. Needs nothing but Python.

    tests/golden/families/check.py build/trireme [--family NAME] [--switched-off] [--layouts] [--device cuda] [--keep FOLDER]

For each model: the folder is written and converted, and a GGUF file where that can say all, and in `exact` every log-prob of every
position is within 1e-3, greedy tokens are equal except where the reference's own margin is under 0.02 (after such a place that prompt is
left).
--switched-off: with one feature of the config off, the result must leave the golden, and so is shown to depend on it.
--device cuda: on a GPU, whose libraries take what they take; folders alone.
--layouts: on uneven layouts of 2 to 7 ranks the outputs are those of one rank, byte for byte, in `exact` and in `standard`.
Last line: N passed, N failed, N skipped."""

import argparse
import concurrent.futures
import json
import math
import os
import subprocess
import sys
import tempfile

import folder
import gguf
import models

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 1e-3      # issue 4: exact against transformers in FP32
GREEDY_MARGIN = 0.02  # a lead of the best token that the reference itself does not vouch for
GREEDY = 12
MOST_RANKS = 7        # of tensor parallelism; CI has two cores


def environment():
    env = dict(os.environ)
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_hwloc_base_binding_policy="none")
    return env


class Failed(Exception):
    """A command that ended badly, or a result that is not what it must be."""


class OffGolden(Failed):
    """Log-probs that are not the golden's."""


def execute(command):
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}\n    no end within 120 s") from None
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n    ended with {done.returncode}: {done.stderr.strip()[-600:]}")


class Checkpoint:
    """A model as a folder or a GGUF file, converted, and the rows of its prompts."""

    def __init__(self, args, scratch, model, prompts, name, feature=None, as_gguf=False):
        self.trireme, self.device, self.base = args.trireme, args.device, os.path.join(scratch, name)
        source = f"{self.base}.gguf" if as_gguf else self.base
        gguf.write(source, model) if as_gguf else folder.write(source, model, feature)
        self.path = f"{self.base}.h5"
        execute([self.trireme, "convert", source, "-o", self.path, "--log-level", "error"])
        with open(f"{self.base}.jsonl", "w", encoding="utf-8") as file:
            for i, prompt in enumerate(prompts):
                file.write(json.dumps({"id": i, "token_ids": prompt["token_ids"]}) + "\n")

    def run(self, numerics, tokens=GREEDY, tp=1, pp=1):
        """The result lines, in the order of the prompts."""
        out = f"{self.base}-{numerics}-{tp}-{pp}.jsonl"
        launcher = ["mpirun", "-n", str(tp * pp)] if tp * pp > 1 else []
        execute([*launcher, self.trireme, "run", f"{self.base}.jsonl", "-m", self.path, "-o", out, "--tp", str(tp), "--pp", str(pp),
                 "--device", self.device, "--threads", "1", "--numerics", numerics, "--kv-blocks", "64", "--max-tokens", str(tokens), "--temperature", "0", "--ignore-eos", "--tokens",
                 "--digest", "--logprobs", "0", "--prompt-logprobs", "0", "--restart", "--log-level", "error"])
        if self.device == "cpu":
            self.check_memory(out)
        with open(out, encoding="utf-8") as file:
            return file.read().splitlines()

    @staticmethod
    def check_memory(out):
        """Every rank's allocators hold what the planner's functions say, within 3 %, and libraries stay under their bound."""
        with open(f"{out}.run/status.json", encoding="utf-8") as file:
            ranks = json.load(file)["ranks"]
        for rank in ranks:
            memory = rank["memory"]
            if abs(memory["held_bytes"] / memory["planned_bytes"] - 1) > 0.03 or (memory["beside_bytes"] or 0) > memory["beside_bound_bytes"]:
                raise Failed(f"{out}: rank {rank['rank']} of {len(ranks)}: {memory}")


def off_by(expected, entry):
    """|log-prob difference|; infinite where ours is not a number."""
    seen = entry["logprob"]
    return abs(seen - expected) if seen is not None and math.isfinite(seen) else math.inf


def compare_prompt(prompt, result):
    """(worst log-prob difference, its place in words): over the prompt, then over the greedy tokens until they may differ."""
    entries, ids = result["prompt_logprobs"][1:], prompt["token_ids"]
    if [entry["id"] for entry in entries] != ids[1:]:
        raise Failed(f"{len(entries)} log-probs of a prompt of {len(ids)} tokens, or of other tokens")
    worst, place = 0.0, "nowhere"

    def look(position, expected, entry):
        nonlocal worst, place
        difference = off_by(expected, entry)
        if difference > worst:
            worst, place = difference, f"position {position}: log-prob of token {entry['id']} {entry['logprob']}, expected {expected}"

    for i, (expected, entry) in enumerate(zip(prompt["logprobs"], entries)):
        look(i + 1, expected, entry)
    if len(result["token_ids"]) not in (0, len(prompt["greedy"])):
        raise Failed(f"{len(result['token_ids'])} tokens came, expected {len(prompt['greedy'])}")
    for j, entry in enumerate(result.get("logprobs") or ()):
        expected, margin = prompt["greedy"][j], prompt["margins"][j]
        if entry["id"] != expected:
            if margin >= GREEDY_MARGIN:
                raise Failed(f"greedy token {j} is {entry['id']}, expected {expected}; its margin is {margin}"
                             f" (worst log-prob before: off by {worst:.6f} at {place})")
            break
        look(len(ids) + j, prompt["greedy_logprobs"][j], entry)
    return worst, place


def compare(prompts, lines):
    """The worst difference over all prompts; Failed where it is above the tolerance."""
    if len(lines) != len(prompts):
        raise Failed(f"{len(lines)} results, expected {len(prompts)}")
    worst = 0.0
    for i, (prompt, line) in enumerate(zip(prompts, lines)):
        result = json.loads(line)
        where = f"prompt {i} of {len(prompt['token_ids'])} tokens"
        if result.get("error"):
            raise Failed(f"{where}: {result['error']}")
        try:
            difference, place = compare_prompt(prompt, result)
        except Failed as fault:
            raise Failed(f"{where}: {fault}") from None
        if difference > TOLERANCE:
            raise OffGolden(f"{where}: off by {difference:.6f} at {place}")
        worst = max(worst, difference)
    return worst


def check_golden(checkpoint, prompts):
    return f"worst log-prob difference {compare(prompts, checkpoint.run('exact')):.6f}"


def check_gguf(args, scratch, model, prompts):
    return check_golden(Checkpoint(args, scratch, model, prompts, f"{model['name']}-gguf", as_gguf=True), prompts)


def check_switched_off(args, scratch, model, prompts, number):
    feature = model["features"][number]
    changed = Checkpoint(args, scratch, model, prompts, f"{model['name']}-off-{number}", feature)
    lines = changed.run("exact", tokens=0)
    try:
        worst = compare(prompts, lines)
    except OffGolden as fault:
        return f"seen: {fault}"
    raise Failed(f"it makes no difference: all log-probs still within {worst:.6f} of the golden")


def layouts(config):
    """(tp, pp): the borders fall inside KV groups, and layers do not divide evenly."""
    experts = config.get("num_local_experts") or config.get("num_experts")
    mlp_units = experts or math.ceil(config["intermediate_size"] / 32)  # so small an MLP has units of 32 columns
    widest = min(config["num_attention_heads"], mlp_units, MOST_RANKS)
    return sorted({(min(2, widest), 1), (min(3, widest), 2), (widest, 1), (1, 3)})


def check_layout(checkpoint, one_rank, numerics, tp, pp):
    lines = checkpoint.run(numerics, tp=tp, pp=pp)
    different = [i for i, (a, b) in enumerate(zip(lines, one_rank)) if a != b]
    if different or len(lines) != len(one_rank):
        raise Failed(f"of {len(one_rank)} results these differ from one rank: {different}")
    if any('"digest"' not in line for line in lines):
        raise Failed("a result has no digest")
    return "equal to one rank"


def check_model(args, scratch, model, prompts):
    """[(name, fault or None, report)]"""
    results = []

    def record(name, check, *arguments):
        try:
            results.append((name, None, check(*arguments)))
        except Failed as fault:
            results.append((name, str(fault), ""))

    def plain():
        return Checkpoint(args, scratch, model, prompts, model["name"])

    try:
        checkpoint = plain()
    except Failed as fault:
        return [("exact", str(fault), "")]
    record("exact", check_golden, checkpoint, prompts)
    if gguf.can_write(model) and args.device == "cpu":
        record("exact, as a GGUF file", check_gguf, args, scratch, model, prompts)
    if args.switched_off and not results[0][1]:
        for i, feature in enumerate(model["features"]):
            record(f"without {feature['name']}", check_switched_off, args, scratch, model, prompts, i)
    for numerics in ("exact", "standard") if args.layouts else ():
        try:
            one_rank = checkpoint.run(numerics)
        except Failed as fault:
            results.append((f"{numerics} on one rank", str(fault), ""))
            continue
        for tp, pp in layouts(model["config"]):
            record(f"{numerics} tp {tp} pp {pp}", check_layout, checkpoint, one_rank, numerics, tp, pp)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trireme")
    parser.add_argument("--family", action="append", help="only models whose name begins with this; may be given several times")
    parser.add_argument("--switched-off", action="store_true")
    parser.add_argument("--layouts", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--keep", metavar="FOLDER", help="write models and results there and leave them")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="models at a time (default 2)")
    args = parser.parse_args()
    with open(os.path.join(HERE, "goldens.json"), encoding="utf-8") as file:
        goldens = json.load(file)["models"]
    chosen = [m for m in models.MODELS if not args.family or m["name"].startswith(tuple(args.family))]
    if not chosen:
        raise SystemExit(f"no model's name begins with {' or '.join(args.family)}; there are {', '.join(m['name'] for m in models.MODELS)}")
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="trireme-families-") as scratch, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = [pool.submit(check_model, args, args.keep or scratch, model, goldens[model["name"]]["prompts"]) for model in chosen]
        for model, future in zip(chosen, waiting):
            for name, fault, report in future.result():
                print(f"{'FAILED ' if fault else ''}{model['name']}: {name}: {fault or report}", flush=True)
                passed, failed = passed + (not fault), failed + bool(fault)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

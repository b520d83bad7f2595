"""Runs one corpus through many layouts and compares every output, byte by byte, with the run on one rank, one thread.

A failure prints the command that shows it. The last line says how many runs were compared."""
import argparse
import concurrent.futures
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import corpora
import cover

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "golden", "families"))
import folder as families_folder  # noqa: E402
import models as families  # noqa: E402

BUILD = os.path.join(ROOT, "build")
LAB = os.path.join(ROOT, "tests", "lab")
OUTPUTS = ["--tokens", "--digest", "--logprobs", "3", "--prompt-logprobs", "1"]

# Shapes nobody would ship: odd head counts, KV groups that straddle ranks, a last unit that is cut short, vocabularies
# that fill no panel. name: (layers, heads, kv heads, head dim, hidden, intermediate, vocab, weights, tied)
TINY = {
    "q4_1": (3, 9, 3, 32, 288, 416, 259, "q4_1", True),
    "bf16": (4, 7, 7, 16, 112, 200, 263, "bf16", False),
    "q8_0": (5, 8, 1, 32, 96, 288, 300, "q8_0", True),
    "f16": (7, 10, 5, 24, 120, 230, 257, "f16", False),
    "k": (3, 16, 1, 16, 256, 512, 261, "q4_k_m", True),
    "fp8": (4, 8, 2, 18, 102, 231, 262, "bf16", True),  # made from these by convert
    "experts": (3, 8, 2, 32, 128, 96, 258, "q4_1", False),  # 11 of them
}
EXPERTS = {"experts": ["--experts", "11", "--experts-used", "3"]}


def environment():
    env = dict(os.environ)
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_hwloc_base_binding_policy="none")
    return env


class Law:
    """Several runs at a time, for one waits more than it computes; they start in the order in which they are asked for."""

    def __init__(self, folder, build, jobs, verbose):
        self.folder, self.build, self.verbose = folder, os.path.abspath(build), verbose
        self.compared, self.failures, self.refused, self.numbers = 0, [], 0, itertools.count(1)
        self.pool, self.waiting = concurrent.futures.ThreadPoolExecutor(jobs), []
        self.references = {}  # of each what output() will give

    def command(self, model, run, out):
        tp, pp, dp = run["layout"]
        rows = f"{self.folder}/{model.name}{'-shuffled' if run['shuffle'] else ''}.jsonl"
        program = "tests/device/trireme_on_emulated_gpu" if run.get("device") == "cuda" else "trireme"
        trireme = [os.path.join(self.build, program), "run", rows, "-m", model.checkpoint, "-o", out, "--tp", str(tp), "--pp", str(pp),
                   "--dp", str(dp), "--threads", str(run["threads"]), "--max-seqs", str(run["max_seqs"]),
                   "--max-step-tokens", str(run["chunk"]), "--numerics", run["numerics"], "--restart", "--log-level", "error",
                   "--allow-errors", *OUTPUTS]
        if run["preempt"]:
            trireme += ["--preempt-every", str(run["preempt"]), "--kv-blocks", str(model.tight_blocks)]
        if run.get("kv_blocks"):
            trireme += ["--kv-blocks", str(run["kv_blocks"])]
        if run.get("device"):
            trireme += ["--device", run["device"]]
            reach = {"shared": "GPUS=1", "own": f"GPUS={tp * pp * dp}", "alone": "GPU_ALONE=1"}[run["gpus"]]
            nccl = os.path.join(self.build, "tests/testkit/nccl/libnccl.so.2") if run["nccl"] else "off"
            early = 90 if run["graphs"] and not model.name.startswith("fp8") else 80  # kernels begin early on sm_90
            trireme = ["env", f"TRIREME_EMULATED_{reach}", f"TRIREME_EMULATED_GPU_SM={run.get('sm', early)}", *trireme, "--nccl", nccl]
            if not run["graphs"]:
                trireme += ["--cuda-graphs", "off"]
        if run.get("level"):
            trireme += ["--level", run["level"]]
        ranks = tp * pp * dp
        if run.get("hosts", 1) > 1:
            per_host = -(-ranks // run["hosts"])
            return [os.path.join(LAB, "lab-mpirun.sh"), str(per_host), "-n", str(ranks), "--map-by", "slot", *trireme]
        return trireme if ranks == 1 else ["mpirun", "-n", str(ranks), *trireme]

    def output(self, model, run):
        """The result lines of a run, in the order of the unshuffled input."""
        out = f"{self.folder}/out-{next(self.numbers)}.jsonl"
        command = self.command(model, run, out)
        try:
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            return None, f"{' '.join(command)}\n  no end within 600 s"
        if done.returncode != 0:
            return None, f"{' '.join(command)}\n  exit code {done.returncode}: {done.stderr.strip()[-800:]}"
        with open(out, encoding="utf-8") as f:
            lines = sorted(f.read().splitlines())
        os.remove(out)
        shutil.rmtree(out + ".run", ignore_errors=True)
        return lines, " ".join(command)

    def check(self, model, run):
        on_gpu = run.get("device") == "cuda" and run["numerics"] != "exact"  # where it has bits of its own
        key = (model.name, run["numerics"], run.get("level"), run.get("sm"), on_gpu)
        if key not in self.references:
            plain = dict(run, layout=(1, 1, 1), threads=1, max_seqs=1, chunk=2048, shuffle=False, preempt=0, hosts=1, kv_blocks=0)
            plain.update(dict(gpus="shared", graphs=False, nccl=False) if on_gpu else dict(device=""))
            self.references[key] = self.pool.submit(self.output, model, plain)
        self.compared += 1
        self.waiting.append(self.pool.submit(self.compare, self.references[key], model, run))

    def compare(self, reference, model, run):
        """What is wrong, or None."""
        expected, text = reference.result()
        if expected is None:
            raise SystemExit(f"law: the reference run failed:\n{text}")
        if any('"digest"' not in line for line in expected):
            raise SystemExit(f"law: a row of the reference run has no digest:\n{text}")
        start = time.monotonic()
        lines, text = self.output(model, run)
        bad = lines != expected
        if self.verbose or bad:
            print(f"{'DIFFERS' if bad else 'equal'} {model.name} {run} {time.monotonic() - start:.1f} s", flush=True)
        if lines is None or not bad:
            return text if bad else None
        different = sum(a != b for a, b in zip(lines, expected)) + abs(len(lines) - len(expected))
        return f"{text}\n  {different} of {len(expected)} rows differ from one rank"

    def finish(self):
        """Waits for all runs that were asked for."""
        waiting, self.waiting = self.waiting, []
        self.failures += filter(None, [future.result() for future in waiting])

    def check_refused(self, model, layout, reason):
        run = dict(PLAIN, layout=layout)
        command = self.command(model, run, f"{self.folder}/refused.jsonl")
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
        self.refused += 1
        code = 78
        if done.returncode != code or reason not in done.stderr:
            self.failures.append(f"{' '.join(command)}\n  expected exit code {code} and '{reason}', got {done.returncode}: {done.stderr.strip()[-400:]}")


PLAIN = dict(layout=(1, 1, 1), threads=1, max_seqs=16, chunk=256, shuffle=False, preempt=0, numerics="standard")


class Model:
    def __init__(self, law, name, checkpoint, layers, rows, tight_blocks, units=7):
        """units: the fewest of attention and MLP; every model of ours has 7 at least unless it says otherwise."""
        self.name, self.checkpoint, self.layers, self.tight_blocks, self.units = name, checkpoint, layers, tight_blocks, units
        self.rows = rows
        corpora.write(f"{law.folder}/{name}.jsonl", rows)
        shuffled = list(rows)
        random.Random(5).shuffle(shuffled)
        corpora.write(f"{law.folder}/{name}-shuffled.jsonl", shuffled)

    def allows(self, run):
        tp, pp, _ = run["layout"]
        return tp <= self.units and pp <= self.layers


def tiny_models(law, count, longest):
    for name, (layers, heads, kv_heads, head_dim, hidden, intermediate, vocab, weights, tied) in TINY.items():
        gguf, checkpoint = f"{law.folder}/{name}.gguf", f"{law.folder}/{name}.h5"
        subprocess.run([os.path.join(law.build, "tests/testkit/make_tiny_model"), gguf, "--layers", str(layers), "--heads", str(heads),
                        "--kv-heads", str(kv_heads), "--head-dim", str(head_dim), "--hidden", str(hidden), "--intermediate", str(intermediate),
                        "--vocab", str(vocab), "--type", weights, "--seed", "3", *(["--tied"] if tied else []), *EXPERTS.get(name, [])], check=True)
        subprocess.run([os.path.join(law.build, "trireme"), "convert", gguf, "-o", checkpoint, "--dtype", "fp8" if name == "fp8" else "keep"],
                       env=environment(), check=True, capture_output=True)
        # The cache of a preempted run holds the longest row and a few more.
        yield Model(law, name, checkpoint, layers, corpora.rows(vocab, longest, count), tight_blocks=longest // 32 + 6)


def family_models(law, count, longest=200):
    """The families of tests/golden/families: windows, two RoPE bases, soft caps, norms over whole rows, experts ..."""
    for model in families.MODELS:
        name, config = model["name"], model["config"]
        checkpoint = f"{law.folder}/{name}.h5"
        families_folder.write(f"{law.folder}/{name}", model)
        subprocess.run([os.path.join(law.build, "trireme"), "convert", f"{law.folder}/{name}", "-o", checkpoint], env=environment(),
                       check=True, capture_output=True)
        experts = config.get("num_local_experts") or config.get("num_experts")
        units = min(config["num_attention_heads"], experts or -(-config["intermediate_size"] // 32))
        yield Model(law, name, checkpoint, config["num_hidden_layers"], corpora.rows(config["vocab_size"], longest, count),
                    tight_blocks=longest // 32 + 6, units=units)


def smollm2(law, count, longest):
    path = os.environ.get("TRIREME_TEST_MODEL", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "trireme",
                                                             "SmolLM2-135M-Instruct.Q4_1.gguf"))
    if not os.path.exists(path):
        print(f"law: skipped on SmolLM2: no {path} (launch/quickstart.sh fetches it)")
        return None
    checkpoint = f"{law.folder}/SmolLM2-135M.h5"  # a family is called smollm2
    subprocess.run([os.path.join(law.build, "trireme"), "convert", path, "-o", checkpoint], env=environment(), check=True, capture_output=True)
    return Model(law, "SmolLM2-135M", checkpoint, 30, corpora.rows(49152, longest, count), tight_blocks=longest // 32 + 8)


DIMENSIONS = dict(threads=[1, 2], max_seqs=[1, 3, 16], chunk=[1, 17, 256, 2048], shuffle=[False, True], preempt=[0, 5],
                  numerics=["standard", "exact"])


def quick(law):
    models = list(tiny_models(law, 20, 300))
    dimensions = dict(DIMENSIONS, layout=cover.layouts(7), model=range(len(models)))
    for run in cover.pairwise(dimensions, lambda run: models[run["model"]].allows(run)):
        model = models[run.pop("model")]
        law.check(model, run)
    burst(law, models[0])
    refusals(law, models)
    rng = random.Random(11)  # a few runs a family; --all makes every layout
    of_families = list(family_models(law, 12))
    emulated_gpu(law, models + of_families, each=1)
    for model in of_families:
        for layout in [(2, 1, 1), (3, 1, 1), (1, 3, 1)]:
            run = dict({name: rng.choice(values) for name, values in DIMENSIONS.items()}, layout=layout)
            if model.allows(run):
                law.check(model, run)
    model = smollm2(law, 6, 100)
    if model:
        for layout in [(2, 1, 1), (1, 2, 1), (3, 1, 1), (2, 2, 1)]:
            law.check(model, dict(PLAIN, layout=layout, chunk=17))


def probe(law):
    """Few runs of one model on the scalar kernels: what mutants.py needs to see its wrongs."""
    model = next(tiny_models(law, 14, 300))
    for layout, chunk, max_seqs in [((3, 1, 1), 256, 16), ((5, 1, 1), 256, 3), ((1, 1, 1), 17, 16), ((1, 2, 1), 1, 3)]:
        law.check(model, dict(PLAIN, layout=layout, chunk=chunk, max_seqs=max_seqs, level="reference"))


def burst(law, model):
    """500 prompts through a cache for three of them: all finish, with the outputs of a run that has room for all."""
    rng = random.Random(9)
    rows = [{"id": f"b{i}", "token_ids": [rng.randrange(200) for _ in range(rng.randint(1, 90))], "max_tokens": rng.randint(1, 30),
             "temperature": 0.7 * (i % 2)} for i in range(500)]
    many = Model(law, f"{model.name}-burst", model.checkpoint, model.layers, rows, tight_blocks=12)
    for layout in [(1, 1, 1), (2, 1, 1), (1, 2, 1)]:
        law.check(many, dict(PLAIN, layout=layout, threads=1, chunk=64, kv_blocks=12))  # 120 positions are 4 blocks


def emulated_gpu(law, models, each):
    """The CUDA kernels and device on a GPU that does not exist (tests/testkit/cuda): the bits of one rank on it, which in exact
    are the CPU's. Each rank has one of its own, or they share it, or do not reach each other's memory. It is slow, so texts are short. each: layouts a model.
    FP8 weights have other numbers on sm_90, and many rows of BF16 and FP16 are multiplied by warpgroups there."""
    if not os.path.exists(os.path.join(law.build, "tests/device/trireme_on_emulated_gpu")):
        print("law: skipped on an emulated GPU: this build has none")
        return
    rng = random.Random(13)
    for i, model in enumerate(models):
        rows = [dict(model.rows[k], token_ids=model.rows[k]["token_ids"][:65], max_tokens=5) for k in (2, 5, 7)]  # every way to sample
        few = Model(law, f"{model.name}-gpu", model.checkpoint, model.layers, rows, tight_blocks=8, units=model.units)
        layouts = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 1, 1), (2, 2, 1), (1, 1, 2)]
        possible = [layout for layout in layouts[i % 6:] + layouts[:i % 6] if few.allows({"layout": layout})]
        for layout in possible[:each]:
            law.check(few, dict({name: rng.choice(values) for name, values in DIMENSIONS.items()}, layout=layout, device="cuda",
                                gpus=rng.choice(("own", "own", "shared", "alone")), graphs=rng.random() < 0.7,
                                nccl=rng.random() < 0.5))
        if model.name in ("fp8", "bf16", "f16"):
            for layout in layouts[1:each + 2]:
                law.check(few, dict(PLAIN, layout=layout, max_seqs=rng.choice((2, 16)), chunk=rng.choice((17, 256)), sm=90, device="cuda", gpus="own",
                                    graphs=True, nccl=False))


def refusals(law, models):
    by_name = {m.name: m for m in models}
    law.check_refused(by_name["q4_1"], (1, 4, 1), "layers")
    law.check_refused(by_name["bf16"], (8, 1, 1), "units")


def everything(law, samples, seed):
    models = [*tiny_models(law, 24, 1500), *family_models(law, 16)]
    big = smollm2(law, 24, 1500)
    if big:
        models.append(big)
    refusals(law, models)
    burst(law, models[0])
    emulated_gpu(law, models[:-1] if big else models, each=2)
    rng = random.Random(seed)
    print(f"law: random sample of {samples} runs a model, a quarter of it on SmolLM2, seed {seed}", flush=True)
    for model in models:
        slow = model is big
        for layout in cover.layouts(7):
            run = dict(PLAIN, layout=layout, threads=rng.choice([1, 2]), chunk=rng.choice([17, 256, 2048]), max_seqs=rng.choice([3, 16]))
            if model.allows(run):
                law.check(model, run)
        possible = [layout for layout in cover.layouts(4 if slow else 7) if model.allows({"layout": layout})]
        for _ in range(-(-samples // 4) if slow else samples):
            law.check(model, dict({name: rng.choice(values) for name, values in DIMENSIONS.items()}, layout=rng.choice(possible)))
    two_hosts(law, models)


def two_hosts(law, models):
    """Two emulated hosts (network namespaces), UCX between them, tensor parallelism across them included."""
    up = subprocess.run([os.path.join(LAB, "lab.sh"), "up", "2"], capture_output=True, text=True, check=False)
    if up.returncode != 0:
        print(f"law: skipped over two hosts: {up.stderr.strip()}")
        return
    try:
        for model in models:
            for layout in [(2, 1, 1), (1, 2, 1), (1, 1, 2), (4, 1, 1), (2, 2, 1), (3, 1, 1), (2, 1, 2)]:
                if model.allows({"layout": layout}):
                    law.check(model, dict(PLAIN, layout=layout, hosts=2))
                    law.finish()  # the hosts are one run's
    finally:
        subprocess.run([os.path.join(LAB, "lab.sh"), "down"], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every layout, a random sample of the rest, emulated hosts")
    parser.add_argument("--probe", action="store_true", help="the few runs that tests/law/mutants.py repeats")
    parser.add_argument("--samples", type=int, default=40, help="random runs a model with --all (default 40), a quarter of it on SmolLM2")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000, help="of the random sample")
    parser.add_argument("--build", default=BUILD, help="build folder to test (default build/)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--verbose", action="store_true", help="a line a run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trireme-law-") as folder:
        law = Law(folder, args.build, args.jobs, args.verbose or args.all)
        start = time.monotonic()
        try:
            if args.all:
                everything(law, args.samples, args.seed)
            else:
                probe(law) if args.probe else quick(law)
            law.finish()
        finally:
            law.pool.shutdown(cancel_futures=True)
        for failure in law.failures:
            print(f"FAILED {failure}")
        print(f"law: {law.compared} runs compared, {law.refused} layouts refused as they must be, {len(law.failures)} failed, "
              f"{time.monotonic() - start:.0f} s")
    return 1 if law.failures else 0


if __name__ == "__main__":
    sys.exit(main())

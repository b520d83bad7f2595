#!/usr/bin/env python3
"""bench decode and prefill with made-up weights and on the GPU that does not exist: what comes out, not how fast.

    bench_test.py build/trireme"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny

SHAPE = ["--shape", "smollm2-135m", "--synthetic", "--steps", "3", "--repeats", "1"]
SMALL_CACHE = ["--max-seqs", "2", "--kv-gib", "0.01"]
PARAMETERS = 134515008


def figures(checks, tiny, name, words, count, ranks=1, program=None, **environment):
    """So many JSON lines of one program, or none."""
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launcher, program or tiny.trireme, "bench", *words, "--json", "--log-level", "warn"], capture_output=True, text=True,
                          timeout=170, env=tiny.environment(**environment), cwd=tiny.folder, check=False)
    if not checks.check(f"{name} ends well with {count} figures", done.returncode == 0 and done.stdout.count("\n") == count, done.stderr + done.stdout):
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def figure(checks, tiny, name, words, ranks=1, program=None, **environment):
    return next(iter(figures(checks, tiny, name, words, 1, ranks, program, **environment)), {})


def check_shapes(checks, tiny):
    seen = {dtype: figure(checks, tiny, f"decode of {dtype}", ["decode", *SHAPE, "--dtype", dtype, "--batch", "2"]) for dtype in ("bf16", "int4")}
    bf16, int4 = (result.get("weight_bytes", 0) for result in seen.values())
    checks.check("BF16 weights are two bytes a parameter, norms four", 2 * PARAMETERS <= bf16 < 2.01 * PARAMETERS, bf16)
    checks.check("4-bit weights are five bits a parameter, the embedding nine", 0.6 * PARAMETERS < int4 < 0.75 * PARAMETERS, int4)
    bare = figure(checks, tiny, "decode without --dtype", ["decode", *SHAPE, "--batch", "2"], ranks=2)
    checks.equal("without --dtype it is BF16, and the same on two ranks", bare.get("weight_bytes"), bf16)
    checks.equal("the figure says what it is of", bare.get("model"), "smollm2-135m with made-up weights of bf16")
    # 30 layers, keys and values of 3 heads of 64, two sequences with 16 + 3 / 2 positions
    checks.equal("cache bytes", bare.get("cache_bytes"), 30 * 2 * 3 * 64 * 2 * 2 * 17)
    one = figure(checks, tiny, "decode of one sequence", ["decode", *SHAPE, "--batch", "1"], ranks=2)
    checks.check("one sequence is a stage's at a time: two ranks share each layer", "tp 2, pp 1" in one.get("layout", ""), one)
    several = figures(checks, tiny, "decode of several batches", ["decode", *SHAPE, "--batch", "2,1"], 2, ranks=2)
    checks.equal("a figure for each, in their order", [seen["batch"] for seen in several], [2, 1])
    checks.equal("in the layout of the largest", {seen["layout"] for seen in several}, {bare.get("layout")})
    prefill = figure(checks, tiny, "prefill", ["prefill", *SHAPE, "--prompt-tokens", "20"])
    checks.check("a CPU has a limit", prefill.get("limit", 0) > 0 and prefill.get("share", 0) > 0, prefill)
    checks.equal("nothing was written", os.listdir(tiny.folder), [])


def check_experts(checks, tiny):
    """Of experts a step reads those that its rows choose: 2 of 8 for one row, 1 - (3/4)^2 of them for two."""
    model = tiny.model("experts", "--experts", "8", "--layers", "2", "--vocab", "300")
    all_of, without = [2 * 8 * 3 * 144 * 200 * 4, 300 * 144 * 4]  # FP32, and the head
    read = [seen["weight_bytes"] for seen in figures(checks, tiny, "decode with experts", [
        "decode", "-m", model, "--prompt-tokens", "8", "--steps", "2", "--repeats", "1", "--batch", "1,2"], 2)]
    checks.equal("one row more reads so much more", read[1] - read[0], all_of * (7 / 16 - 1 / 4))
    checks.check("and one row its own", all_of / 4 + without < read[0] < all_of / 2, read)


def check_kernels(checks, tiny):
    """Figures as they come, of attention first: a minute for all of them."""
    with subprocess.Popen([tiny.trireme, "bench", "kernels", "--json", "--repeats", "1"], env=tiny.environment(), stdout=subprocess.PIPE, text=True) as running:
        seen = [json.loads(running.stdout.readline()) for _ in range(13)]
        running.kill()
    checks.equal("attention, then products", [f["bench"] for f in seen], ["attention"] * 12 + ["product"])
    checks.check("each beside its limit", all(f["median"] > 0 and f["limit"] > 0 and 0 < f["share"] < 2 for f in seen), seen)


def check_gpu(checks, tiny):
    program = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    if not os.path.exists(program):
        checks.skip("bench on a GPU", "this build has no emulated GPU")
        return
    model = tiny.model("tiny")
    decode = ["decode", "-m", model, "--device", "cuda", *SMALL_CACHE, "--prompt-tokens", "40", "--steps", "3", "--repeats", "1"]
    library = os.path.join(tiny.build, "tests", "testkit", "cublaslt")
    for ranks in (1, 2):
        seen = figure(checks, tiny, f"decode on a GPU, {ranks} ranks", [*decode, "--batch", "2"], ranks, program, LD_LIBRARY_PATH=library)
        checks.check("its limit is measured", seen.get("limit", 0) > 0, seen)
        checks.check("ranks that share a GPU count it once", "of 1 GPU," in seen.get("limit_of", ""), seen)
        checks.check("the rate is one", seen.get("median", 0) > 0, seen)
        checks.check("a step stands beside both of its bounds", 0 <= seen.get("compute_bound_us", -1) <= seen.get("step_us", -1) and
                     0 <= seen.get("memory_bound_us", -1) <= seen["step_us"] and "over_larger_bound" in seen, seen)
    several = figures(checks, tiny, "decode of several batches on a GPU", [*decode, "--batch", "1,2"], 2, program=program,
                      LD_LIBRARY_PATH=library, TRIREME_TEST_CUBLASLT="dead")
    checks.equal("a figure for each", [seen["batch"] for seen in several], [1, 2])
    checks.check("a bound that is not measured is not shown, but why it is not", all(
        "does not start" in seen.get("compute_bound", "") and "compute_bound_us" not in seen and "over_larger_bound" not in seen for seen in several), several)
    for acting in ("", "dead"):
        seen = figure(checks, tiny, "prefill on a GPU", ["prefill", "-m", model, "--device", "cuda", *SMALL_CACHE, "--prompt-tokens", "9", "--repeats", "1"],
                      program=program, LD_LIBRARY_PATH=library, TRIREME_TEST_CUBLASLT=acting)
        if acting:
            checks.check("a limit that is not measured is not shown", "limit" not in seen and "share" not in seen, seen)
            checks.check("but why it is not", "nothing measured: " in seen.get("limit_of", "") and "does not start" in seen["limit_of"], seen)
        else:
            checks.check("prefill's limit is the library's", seen.get("limit", 0) > 0 and "of 8192 rows" in seen.get("limit_of", ""), seen)


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        check_shapes(checks, tiny)
        check_experts(checks, tiny)
        check_kernels(checks, tiny)
        check_gpu(checks, tiny)
    checks.end()


if __name__ == "__main__":
    main()

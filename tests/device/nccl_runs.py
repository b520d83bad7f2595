#!/usr/bin/env python3
"""Whole runs on GPUs that do not exist, with a NCCL that does not exist either (tests/testkit): their bytes are those of
one GPU, their faults end with the documented exit code and in time, and what is missing or slow is said.

    tests/device/nccl_runs.py build/trireme"""
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny

OUTPUTS = ["--tokens", "--digest", "--logprobs", "2", "--prompt-logprobs", "1"]
DEADLINE_S = 2


MANY = [1, 3, 33, 64, 70, 5, 17, 40]  # prompts' lengths
FEW = [3, 17, 5]  # where the question is which way they go, or what is said


def rows(lengths):
    return "".join(json.dumps({"token_ids": [(37 * i + k) % 250 for i in range(n)], "max_tokens": 6, "temperature": k % 2}) + "\n"
                   for k, n in enumerate(lengths)).encode()


class Runs:
    def __init__(self, checks, tiny):
        self.checks, self.tiny = checks, tiny
        self.program = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
        self.fakes = os.path.join(tiny.build, "tests", "testkit", "nccl")
        self.model = tiny.model("nccl", "--layers", "4")
        self.out = tiny.path("out.jsonl")

    def take(self, lengths):
        """The rows of all runs from here on. The bytes of one GPU."""
        self.rows = self.tiny.put("rows.jsonl", rows(lengths))
        _, reference, said, _, _ = self.run((1, 1, 1), library="off")
        self.checks.check(f"one GPU, {len(lengths)} rows", reference is not None, said[-600:])
        return reference

    def run(self, layout, *options, gpus=None, visible=None, words="", library=None, **env):
        """visible: CUDA_VISIBLE_DEVICES of each rank.
        (exit code, output or None, what it said, status.json, seconds)"""
        tp, pp, dp = layout
        ranks = tp * pp * dp
        env = self.tiny.environment(TRIREME_EMULATED_GPUS=str(gpus or ranks), TRIREME_TEST_NCCL=words, **env)
        nccl = [] if library == "" else ["--nccl", library or os.path.join(self.fakes, "libnccl.so.2")]
        command = [self.program, "run", self.rows, "-m", self.model, "-o", self.out, "--restart", "--device",
                   "cuda", "--tp", str(tp), "--pp", str(pp), "--dp", str(dp), "--max-seqs", "3", *OUTPUTS, *nccl, *options]
        own = [["-n", "1", "env", f"CUDA_VISIBLE_DEVICES={gpu}", *command, ":"] for gpu in visible or ()]
        command = ["mpirun", *(sum(own, [])[:-1] or ["-n", str(ranks), *command])]
        if os.path.exists(self.out):
            os.remove(self.out)
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=env)
        except subprocess.TimeoutExpired as late:
            return "no end", None, str(late.stderr), {}, 100
        output = None
        if os.path.exists(self.out):
            with open(self.out, "rb") as file:
                output = file.read()
        with open(f"{self.out}.run/status.json", encoding="utf-8") as file:
            status = json.load(file)
        return done.returncode, output, done.stderr, status, time.monotonic() - start

    def installed_nccl(self):
        """The file of a real one on this machine, or "": --nccl auto goes on to it where the first does not serve."""
        said = subprocess.run([self.tiny.trireme, "--version", "--verbose"], capture_output=True, text=True, timeout=60,
                              env=self.tiny.environment()).stdout
        files = [line[14:].strip() for line in said.splitlines() if line.startswith("NCCL's file")]
        return "" if not files or files[0] == "none" else files[0]

    def same(self, name, reference, says, layout, *options, ways=None, **more):
        code, output, said, status, _ = self.run(layout, *options, **more)
        self.checks.equal(f"{name}: exit code", code, 0) or print(said[-1500:])
        self.checks.check(f"{name}: the bytes of one GPU", output == reference, said[-600:])
        for words in says:
            self.checks.check(f"{name}: says {words!r}", words in said, said[-1500:])
        if ways is not None:
            motion = status.get("ranks", [{}])[0].get("motion", {})
            self.checks.equal(f"{name}: status.json", {k: v for k, v in motion.items() if k != "nccl"}, ways)
        return said

    def ends(self, name, code, says, layout, words="", *options, **more):
        seen, _, said, _, seconds = self.run(layout, "--deadline-s", str(DEADLINE_S), *options, words=words, **more)
        self.checks.equal(f"{name}: exit code", seen, code) or print(said[-1500:])
        for text in says:
            self.checks.check(f"{name}: says {text!r}", text in said, said[-1500:])
        self.checks.check(f"{name}: within the deadline", seconds < 5 * DEADLINE_S + 10, f"{seconds:.1f} s")


def layouts(runs, reference):
    nccl = "NCCL 2.28.9 (P2P/IPC)"
    runs.same("stages", reference, [f"hops by {nccl}"], (1, 2, 1), ways={"group": "self", "next_stage": nccl})
    runs.same("three stages, small steps", reference, [nccl], (1, 3, 1), "--max-step-tokens", "7")
    runs.same("a group that cannot share", reference, [f"group by {nccl}"], (2, 1, 1), ways={"group": nccl}, TRIREME_EMULATED_GPU_ALONE="1")
    runs.same("three in a group", reference, [f"group by {nccl}"], (3, 1, 1), TRIREME_EMULATED_GPU_ALONE="1")
    runs.same("groups and stages", reference, [f"group by {nccl}, hops by {nccl}"], (2, 2, 1), TRIREME_EMULATED_GPU_ALONE="1")
    runs.same("groups that share, and stages", reference, [f"group by p2p, hops by {nccl}"], (2, 2, 1))
    runs.same("a group that shares", reference, ["group by p2p"], (2, 1, 1), ways={"group": "p2p"})
    runs.same("replicas of stages", reference, [f"hops by {nccl}"], (1, 2, 2))
    said = runs.same("stages on one GPU", reference, ["hops by shm by the host"], (1, 2, 1), gpus=1)
    runs.checks.check("stages on one GPU: nothing of NCCL", "NCCL" not in said, said)
    said = runs.same("off", reference, ["hops by shm by the host"], (1, 2, 1), library="off")
    runs.checks.check("off: nothing of NCCL", "NCCL" not in said, said)


def own_gpus(runs, reference):
    """Ranks that see one GPU each, all of them number 0, or one instance of a GPU that they share; and who shows which."""
    nvml = {"LD_LIBRARY_PATH": os.path.join(runs.tiny.build, "tests", "testkit", "nvml")}
    runs.same("a group of GPUs of their own", reference, ["group by p2p", "GPU 0 (emulated"], (2, 1, 1), visible="01", ways={"group": "p2p"})
    runs.same("stages on GPUs of their own", reference, ["hops by NCCL 2.28.9 (P2P/IPC)"], (1, 2, 1), visible="10", TRIREME_TEST_NVML="h100 h100", **nvml)
    for layout, way in (((2, 1, 1), "group by shm"), ((1, 2, 1), "hops by shm by the host")):
        said = runs.same(f"instances of one GPU, {way}", reference, [way], layout, "--allow-slow-placement", gpus=1, TRIREME_TEST_NVML="mig2", TRIREME_EMULATED_GPU_ALONE="1",
                         visible=[f"MIG-abc{i}0000-0000-0000-0000-000000000000" for i in (1, 2)], **nvml)
        runs.checks.check(f"instances of one GPU, {way}: nothing of NCCL", "NCCL" not in said, said)


def links(runs, reference):
    """What a handshake measures before the weights load: copies where GPUs open each other's memory, else the hosts' memory."""
    for alone, transport in (({}, "peer copies"), ({"TRIREME_EMULATED_GPU_ALONE": "1"}, "shm")):
        said = runs.same(f"links by {transport}", reference, [" I links: tp ", "; hops "], (2, 2, 1), **alone)
        runs.checks.equal(f"links by {transport}: of groups and hops alike", len(re.findall(rf"I links: tp [^;]*, {transport}\)[^;]*; hops .*, {transport}\)", said)), 1)


def paths(runs, reference):
    """Where the library is, and what is said of the network."""
    nowhere = {"CUDA_HOME": "/nowhere", "LD_LIBRARY_PATH": runs.fakes}
    runs.same("on the loader's path", reference, ["hops by NCCL 2.28.9"], (1, 2, 1), library="", **nowhere)
    lacking = os.path.join(runs.fakes, "lacking")
    runs.ends("too old, by its name", 78, ["is NCCL 2.10.3, 2.18.1 or later is needed"], (1, 2, 1), "version=21003")
    runs.ends("incomplete, by its name", 78, ["has no ncclCommFinalize"], (1, 2, 1), library=os.path.join(lacking, "libnccl.so.2"))
    if installed := runs.installed_nccl():
        runs.checks.skip("too old, incomplete", f"the next one would serve: {installed}")
    else:
        unused = "NCCL is not used, GPUs reach each other through the host's memory: rank 0: "
        runs.same("too old", reference, [unused, "is NCCL 2.10.3, 2.18.1 or later is needed", "hops by shm by the host"], (1, 2, 1),
                  words="version=21003", library="", **nowhere)
        runs.same("incomplete", reference, [unused, "has no ncclCommFinalize"], (1, 2, 1), library="", CUDA_HOME="/nowhere",
                  LD_LIBRARY_PATH=lacking)
    runs.same("two versions", reference, ["rank 0 has NCCL 2.28.9, rank 1 has 2.27.3"], (1, 2, 1), words="version=22703@1", library="",
              CUDA_HOME="/nowhere", LD_LIBRARY_PATH=runs.fakes)
    runs.same("sockets", reference, ["W NCCL moves slowly between GPUs of ranks 0-1 by NET/Socket;"], (1, 2, 1), words="via=NET/Socket/0")
    runs.same("an adapter inside one host", reference, ["W NCCL moves slowly between GPUs of ranks 0-1 by NET/IB;"], (1, 2, 1), words="via=NET/IB/0")
    runs.same("the host's memory between GPUs that open each other's", reference,
              ["W NCCL moves slowly between GPUs of ranks 0-1 by SHM/direct, though they open each other's memory;"], (1, 2, 1), words="via=SHM/direct/direct")
    said = runs.same("the host's memory between GPUs that do not", reference, ["hops by NCCL 2.28.9 (SHM/direct)"], (1, 2, 1),
                     words="via=SHM/direct/direct", TRIREME_EMULATED_GPU_ALONE="1")
    runs.checks.check("the host's memory between GPUs that do not: no warning", "moves slowly" not in said, said)
    runs.same("a log of the user's own", reference, ["hops by NCCL 2.28.9 (unknown)"], (1, 2, 1), NCCL_DEBUG="WARN")
    runs.ends("a library that is not there", 78, ["--nccl /nowhere/libnccl.so.2: rank 0: it does not open"], (1, 2, 1), library="/nowhere/libnccl.so.2")


def fallback(runs, reference):
    """Where the library was not asked for by its name, all go without it when it does not start for one."""
    found = {"CUDA_HOME": "/nowhere", "LD_LIBRARY_PATH": runs.fakes, "library": ""}
    unused = "NCCL is not used, GPUs reach each other through the host's memory: NCCL 2.28.9, asked to start"
    words = [unused, "no network interface was found", "hops by shm by the host"]
    runs.same("it does not start on one rank", reference, words, (1, 2, 1), "--deadline-s", "6", words="init-error@1", **found,
              ways={"group": "self", "next_stage": "shm by the host"})
    runs.same("nor on all", reference, words, (1, 3, 1), "--deadline-s", "6", words="init-error", **found)
    runs.same("a group's does not start", reference, [unused, "group by shm, hops by shm by the host"], (2, 2, 1), "--deadline-s", "6",
              words="init-error@3", TRIREME_EMULATED_GPU_ALONE="1", **found)
    runs.same("a rank never comes", reference, ["waited 6 s for NCCL to start of the group of world ranks 1, 2", "hops by shm by the host"],
              (1, 3, 1), "--deadline-s", "6", words="init-hang@2", **found)


def faults(runs):
    runs.ends("it does not start", 78, ["asked to start", "no network interface was found", "--nccl off"], (1, 2, 1), "init-error")
    runs.ends("a GPU without room for it", 72, ["asked to start in the group of world ranks 0, 1", "out of memory"], (1, 2, 1), "init-oom@1")
    runs.ends("a rank never comes", 71, ["waited 2 s for NCCL to start of the group of world ranks 0, 1"], (1, 2, 1), "init-hang@1")
    for name, found in (("by its name", {}), ("found", {"CUDA_HOME": "/nowhere", "LD_LIBRARY_PATH": runs.fakes, "library": ""})):
        runs.ends(f"it blocks a rank for good, {name}", 71, ["waited 8 s for a maximum over ranks", "(rank 0 on"], (1, 2, 1), "init-block@1", **found)
    runs.ends("a send hangs", 71, ["waited 2 s for"], (1, 2, 1), "hang=3@0")  # rank 0 waits for the result, rank 1 for the message
    runs.ends("a group hangs", 71, ["waited 2 s for exchange", "(NCCL)"], (2, 1, 1), "hang=5@1", TRIREME_EMULATED_GPU_ALONE="1")
    runs.ends("a link goes down", 69, ["reports: remote process exited", "a link went down"], (1, 2, 1), "error=4@0")
    runs.ends("an abort never returns", 69, ["a link went down"], (1, 2, 1), "error=4@1 abort-hang")
    runs.ends("a rank alone cannot lock its windows", 72, ["the host has no 1 MiB of memory to lock for the windows of a group", "(rank 0 on "], (2, 1, 1),
              "", "--max-step-tokens", "256", library="off", TRIREME_EMULATED_GPU_ALONE="1", TRIREME_EMULATED_GPU_NO_LOCKING="1@1")
    runs.ends("a driver never opens another's memory", 71, ["waited 2 s for GPU ", "asked for another's memory", "its driver is stuck"], (2, 1, 1),
              library="off", TRIREME_EMULATED_GPU_BLOCKS_IN="cudaIpcOpenMemHandle")
    runs.ends("a rank dies", 137, [], (1, 2, 1), "die=4@1")


def shown(runs):
    library = os.path.join(runs.fakes, "libnccl.so.2")
    env = runs.tiny.environment(LD_LIBRARY_PATH=runs.fakes)
    for arguments in (["doctor"], ["--version", "--verbose"], ["doctor", "--nccl", library]):
        said = subprocess.run([runs.tiny.trireme, *arguments], capture_output=True, text=True, timeout=60, env=env).stdout
        lines = {line[:14].strip(): line[14:].strip() for line in said.splitlines()}
        runs.checks.equal(f"{arguments}: version", lines.get("NCCL"), "2.28.9")
        runs.checks.check(f"{arguments}: file", os.path.samefile(lines.get("NCCL's file", "/"), library), said)


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        if not os.path.exists(os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")):
            checks.skip("NCCL", "this build has no emulated GPU")
            checks.end()
        runs = Runs(checks, tiny)
        reference = runs.take(MANY)
        # Of the modes exact is one in which a GPU has a CPU's bits, so that something else than a GPU is asked, too.
        _, exact, said, _, _ = runs.run((1, 1, 1), "--numerics", "exact", library="off")
        _, on_cpu = tiny.corpus("reference", runs.rows, runs.model, "--numerics", "exact", *OUTPUTS)
        checks.check("exact: the bytes of one CPU rank", exact is not None and exact == on_cpu, said[-600:])
        layouts(runs, reference)
        reference = runs.take(FEW)
        own_gpus(runs, reference)
        links(runs, reference)
        paths(runs, reference)
        fallback(runs, reference)
        faults(runs)
        shown(runs)
    checks.end()


main()

#!/usr/bin/env python3
"""What a run says of itself, and where it is found: status and status.json, the terminal, the summary, links, GPUs.

    tests/inputs/status.py build/trireme"""
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def check_status(checks, tiny, model):
    rows, out = tiny.put("status.jsonl", lines({"prompt": "a", "max_tokens": 1})), tiny.path("status.out")
    command = ["run", rows, "-m", model, "-o", out]
    checks.equal("a layout that is none ends with 78", tiny.run([*command, "--tp", "2", "--dp", "2"]).returncode, 78)
    status = json.loads(tiny.run(["status", out, "--json"]).stdout)
    checks.check("status: failed, 78 and why", (status["state"], status["exit_code"]) == ("failed", 78) and "2 x 1 x 2 = 4" in status["message"], status)
    checks.equal("such a folder holds no run: other options may follow", tiny.run([*command, "--seed", "3"]).returncode, 0)
    status = json.loads(tiny.run(["status", out, "--json"]).stdout)
    checks.equal("at the end all tokens are those of the results", status["tokens_so_far"], status["prompt_tokens"] + status["completion_tokens"])

    early = tiny.path("early.out")
    for what, source, code in (("no input", tiny.path("none.jsonl"), 66), ("no text", rows, 66)):
        options = ["--instruction", "@" + tiny.path("none.txt")] if what == "no text" else []
        checks.equal(f"{what}: {code}", tiny.run(["run", source, "-m", model, "-o", early, *options]).returncode, code)
        status = json.loads(tiny.run(["status", early, "--json"]).stdout)
        checks.check(f"{what}: status.json says so, too", (status["state"], status["exit_code"]) == ("failed", code) and "none." in status["message"], status)

    gone = subprocess.Popen(["true"])
    gone.wait()
    tiny.put("killed.run/status.json", '{"state": "running"}')
    for pid, said in ((gone.pid, True), (os.getpid(), False)):
        tiny.put("killed.run/lock", f"process {pid} on host {socket.gethostname()}")
        text = tiny.run(["status", tiny.path("killed")]).stdout
        checks.check(f"status tells a killed job from one that runs: {said}", (b"its process is gone" in text) == said, text)
        state = json.loads(tiny.run(["status", tiny.path("killed.run/"), "--json"]).stdout)["state"]
        checks.equal("and says so to scripts, also by the run folder's name", state, "killed" if said else "running")

    tiny.put("silent.run/status.json", '{"state": "running", "updated": "2001-09-09T01:46:40Z"}')
    tiny.put("silent.run/lock", "process 1 on host elsewhere")
    text = tiny.run(["status", tiny.path("silent")]).stdout
    checks.check("of a host elsewhere, status tells by the age", b"silent: running" in text, text)
    seen = json.loads(tiny.run(["status", tiny.path("silent"), "--json"]).stdout)
    checks.check("and says the age to scripts", seen["state"] == "running" and 0 <= time.time() - 1000000000 - seen["age_s"] < 5, seen)
    tiny.put("silent.run/fault.json", '{"rank": 3, "host": "n2", "exit_code": 71, "message": "waited 5 s"}')
    seen = json.loads(tiny.run(["status", tiny.path("silent"), "--json"]).stdout)
    checks.check("another rank's fault goes before a state that says running", (seen["state"], seen["exit_code"], seen["message"]) ==
                 ("failed", 71, "waited 5 s (rank 3 on n2)"), seen)
    tiny.put("silent.run/status.json", '{"state": "failed", "exit_code": 71, "message": "waited 9 s"}')
    seen = json.loads(tiny.run(["status", tiny.path("silent"), "--json"]).stdout)
    checks.equal("and stands beside what rank 0 says came of it", seen["message"], "waited 9 s; first: waited 5 s (rank 3 on n2)")
    for state, fault in (("done", '{"exit_code": 71}'), ("running", "")):
        tiny.put("silent.run/status.json", json.dumps({"state": state, "exit_code": None}))
        tiny.put("silent.run/fault.json", fault)
        seen = json.loads(tiny.run(["status", tiny.path("silent"), "--json"]).stdout)
        checks.equal(f"but not before {state}, with {fault!r}", (seen["state"], seen["exit_code"]), (state, None))


def check_fault_of_another_rank(checks, tiny, model):
    """A rank that fails alone leaves its fault where status finds it; here because rank 0 is stopped, and cannot say anything."""
    rows = tiny.put("fault.jsonl", lines(*({"prompt": "a"} for _ in range(20000))))
    out = tiny.path("fault.out")

    def status():
        return json.loads(tiny.run(["status", out, "--json"]).stdout or "{}")

    running = subprocess.Popen(["mpirun", "-n", "2", tiny.trireme, "run", rows, "-m", model, "-o", out, "--tp", "2", "--deadline-s", "1",
                                "--max-tokens", "200", "--ignore-eos"], env=tiny.environment(), stderr=subprocess.PIPE)
    try:
        give_up, seen = time.monotonic() + 60, {}
        while time.monotonic() < give_up and running.poll() is None and "ranks" not in seen:
            time.sleep(0.1)
            seen = status()
        checks.equal("a run of two ranks runs", seen.get("state"), "running")
        with open(out + ".run/lock", encoding="utf-8") as lock:
            os.kill(int(lock.read().split()[1]), signal.SIGSTOP)
        said = running.communicate(timeout=60)[1].decode()
    finally:
        running.kill()
    words = "waited 1 s for "
    checks.check("the other rank says what it waited for", words in said and "(rank 1 on" in said, said)
    seen = status()
    checks.check("and status has it, though rank 0 had no word", (seen["state"], seen["exit_code"], seen["predicted_end"]) == ("failed", 71, None)
                 and words in seen["message"] and "(rank 1 on" in seen["message"], seen)
    again = tiny.run(["run", tiny.put("fault2.jsonl", lines({"prompt": "a"})), "-m", model, "-o", out, "--max-tokens", "1", "--restart"])
    checks.equal("the next run drops it", (again.returncode, status()["state"], os.path.exists(out + ".run/fault.json")), (0, "done", False))

    trireme = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    if not os.path.exists(trireme):
        checks.skip("a driver that is stuck, in status", "this build has no emulated GPU")
        return
    done = subprocess.run([trireme, "run", tiny.path("fault2.jsonl"), "-m", model, "-o", out, "--restart", "--device", "cuda", "--deadline-s", "0.5"],
                          env=tiny.environment(TRIREME_EMULATED_GPU_BLOCKS_IN="cudaStreamQuery"), capture_output=True, timeout=60)
    seen = status()
    checks.check("a driver that is stuck, in status", (done.returncode, seen["state"], seen["exit_code"]) == (71, "failed", 71)
                 and "its driver is stuck (rank 0 on" in seen["message"], (done.stderr, seen))


def check_terminal(checks, tiny, model):
    """On a terminal a fault does not stand behind the progress that is drawn there."""
    rows = tiny.put("terminal.jsonl", lines(*({"prompt": "a"} for _ in range(2000))))
    ours, theirs = pty.openpty()
    running = subprocess.Popen([tiny.trireme, "run", rows, "-m", model, "-o", tiny.path("terminal.out"), "--max-tokens", "20", "--logprobs", "20"],
                               env=tiny.environment(), stderr=theirs, preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    os.close(theirs)
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and running.poll() is None and not os.path.exists(tiny.path("terminal.out.run/status.json")):
        time.sleep(0.02)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))  # MPI, which has begun, writes more
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # how Linux says that nobody holds the other end
        pass
    os.close(ours)
    checks.equal("a file that may not grow: 74", running.wait(timeout=60), 74)
    before, _, after = said.rpartition(b"trireme run: ")
    checks.check("progress was drawn", b" documents (" in before, said[-400:])
    checks.check("and cleared before the fault", before.endswith(b"\r\x1b[K") and b"cannot write" in after, said[-400:])


def check_idle_followers(checks, tiny, model):
    """Ranks of a replica that has nothing to do hear of their leader before their deadline passes."""
    rows = tiny.put("idle.jsonl", lines({"prompt": "a"}))
    start = time.monotonic()
    done = tiny.run(["run", rows, "-m", tiny.model("idle", "--layers", "12"), "-o", tiny.path("idle.out"), "--dp", "2", "--tp", "2", "--level", "reference",
                     "--numerics", "exact", "--max-tokens", "1500", "--ignore-eos", "--deadline-s", "0.7"], ranks=4)
    checks.equal(f"a replica that is idle for {time.monotonic() - start:.1f} s, with a deadline of 0.7 s", done.returncode, 0) or print(done.stderr.decode())


def check_doctor(checks, tiny, _model):
    """GPUs by an NVML of our own, found as the driver's would be."""
    nvml = os.path.join(tiny.build, "tests", "testkit", "nvml")
    for words, visible, expected in (("h100 h100 a100-pair", "2,0", ["2 x NVIDIA H100", "1 x NVIDIA A100", "550.54.15, CUDA 12.4", "GPUs 2,0\n", "its GPUs are of no use"]),
                                     ("init=9", "0", ["none: NVIDIA's library is there, but does not start", "GPUs none"])):
        env = tiny.environment(TRIREME_TEST_NVML=words, CUDA_VISIBLE_DEVICES=visible, LD_LIBRARY_PATH=nvml)
        for command in ("doctor", "topology"):
            said = subprocess.run([tiny.trireme, command], env=env, capture_output=True, text=True, timeout=60).stdout
            for word in expected[:4]:
                checks.check(f"{command} with {words}: {word!r}", word in said, said)
        said = subprocess.run([tiny.trireme, "doctor"], env=env, capture_output=True, text=True, timeout=60).stdout
        checks.equal("GPUs that CUDA does not see are a finding", "its GPUs are of no use" in said, len(expected) > 4)
    emulated = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    alone = "share 1 GPU, and exclusive mode lets in one process a GPU; start at most one rank a GPU"
    for words, visible, ranks, gpus, finding in (
            ("t4 h100", "1,0", 1, 2, "GPU 0 (Tesla T4, sm_75) is older than sm_80"), ("t4 h100", "1", 1, 2, None),
            ("exclusive", "0", 2, 1, "2 ranks " + alone), ("exclusive h100", "0,1", 2, 2, None), ("h100", "0", 2, 1, None),
            ("mig0 h100", "1", 1, 2, "GPU 0 (NVIDIA H100 80GB HBM3) is split by MIG and has no instance"), ("mig2", "0", 1, 1, None)):
        if not os.path.exists(emulated):
            checks.skip("what doctor finds of GPUs", "this build has no emulated GPU")
            break
        env = tiny.environment(TRIREME_TEST_NVML=words, CUDA_VISIBLE_DEVICES=visible, LD_LIBRARY_PATH=nvml, TRIREME_EMULATED_GPUS=str(gpus))
        said = subprocess.run(["mpirun", "-n", str(ranks), emulated, "doctor"], env=env, capture_output=True, text=True, timeout=60).stdout
        found = [line for line in said.splitlines() if line.startswith("finding: ") and "GPU" in line]
        checks.check(f"doctor on {ranks} ranks with {words}", len(found) == (finding is not None) and (finding or "") in "".join(found), said)
    with open(os.path.join(tiny.build, "meson-info", "intro-buildoptions.json"), encoding="utf-8") as file:
        codes = ", ".join(code.replace("compute_", "PTX of sm_") for code in next(o["value"] for o in json.load(file) if o["name"] == "gpu_arch"))
    compiled = os.path.exists(os.path.join(tiny.build, "kernels", "rows.cu.o"))
    for command in (["--version", "--verbose"], ["doctor"]):
        said = re.search("^CUDA +(.*)$", tiny.run(command).stdout.decode(), re.MULTILINE)[1]
        checks.check(f"{command[0]}: what the CUDA code is compiled for", re.fullmatch(r"\d+\.\d+, for " + codes if compiled else "none", said), (said, codes))
    for program, expected in ((tiny.trireme, "\\d+|none: .+"), (emulated, "3")):
        if os.path.exists(program):
            said = subprocess.run([program, "--version", "--verbose"], env=tiny.environment(TRIREME_EMULATED_GPUS="3"), capture_output=True, text=True, timeout=60).stdout
            checks.check("--version --verbose: the GPUs that CUDA has", re.search(f"^GPUs by CUDA   ({expected})$", said, re.MULTILINE), said)
    said = tiny.run(["doctor"]).stdout.decode()
    checks.check("without a driver doctor says so, or shows its GPUs", "GPUs           " in said, said)


def check_links(checks, tiny, _model):
    """What ranks of a group and of neighbouring stages find of their links, before the weights load; it changes no byte."""
    def shown(ranks, *layout):
        out = tiny.path("links.out")
        done = tiny.run(["run", rows, "-m", model, "-o", out, "--restart", "--print-placement", *layout], ranks=ranks)
        checks.equal(f"a run on {ranks} ranks, {layout}", done.returncode, 0)
        with open(out, "rb") as file:
            return done.stderr.decode(), file.read()

    model = tiny.model("links", "--layers", "2")
    rows = tiny.put("links.jsonl", lines({"prompt": "a", "max_tokens": 4}))
    figures = r"\d+\.\d us (\([^)]*\) )?and \d+\.\d GB/s (at worst )?\(ranks \d-\d, [^)]*, shm\)"
    said, reference = shown(1, "--dp", "1")
    checks.check("a rank alone has no links", "links:" not in said, said)
    for ranks, tp, pp in ((2, 2, 1), (2, 1, 2), (4, 2, 2), (7, 7, 1)):
        said, seen = shown(ranks, "--tp", str(tp), "--pp", str(pp))
        expected = "; ".join(["tp " + figures + "( at worst)?"] * (tp > 1) + ["hops " + figures + "( at worst)?"] * (pp > 1))
        checks.equal(f"tp {tp} pp {pp}: one line of the log says how fast they are", len(re.findall(f" I links: {expected}\n", said)), 1) or print(said)
        checks.equal(f"tp {tp} pp {pp}: each group and hop of the placement, too", len(re.findall(f"(?:TP group|hop) of dp .*{figures}", said)),
                     pp * (tp > 1) + pp - 1) or print(said)
        checks.check(f"tp {tp} pp {pp}: the same bytes", seen == reference)


def check_gpu_status(checks, tiny, model):
    """What status.json and status say of GPUs: emulated ones, of which an NVML of our own tells."""
    trireme = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    if not os.path.exists(trireme):
        checks.skip("GPUs in status.json", "this build has no emulated GPU")
        return
    out = tiny.path("gpu.out")

    def command(tokens, *options):
        rows = tiny.put("gpu.jsonl", lines({"prompt": "a", "max_tokens": tokens, "ignore_eos": True}))
        return [trireme, "run", rows, "-m", model, "-o", out, "--device", "cuda", "--restart", *options]

    def environment(words, **more):
        nvml = {"TRIREME_TEST_NVML": words, "LD_LIBRARY_PATH": os.path.join(tiny.build, "tests", "testkit", "nvml")} if words else {}
        return tiny.environment(**nvml, **more)

    def status():
        try:
            with open(out + ".run/status.json", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:  # a run that starts over
            return {}

    def run(words, ranks=1, *options, **more):
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        done = subprocess.run([*launcher, *command(2, *options)], env=environment(words, **more), capture_output=True, text=True, timeout=120)
        checks.equal(f"a run on a GPU, {words or 'no NVML'}", done.returncode, 0)
        return done.stderr, status()

    said, _ = run("t4 h100 hot", 2, CUDA_VISIBLE_DEVICES="2,1", TRIREME_EMULATED_GPUS="3")
    checks.check("the map knows the GPUs of ranks: their data sheet chooses a layout", "auto layout: tp 1 x pp 1 x dp 2 " in said and "by the data sheet of these GPUs" in said, said)
    said, seen = run("t4 h100 hot", 2, "--tp", "2", CUDA_VISIBLE_DEVICES="2,1", TRIREME_EMULATED_GPUS="3")
    hot, cool = (rank["gpu"] for rank in seen["ranks"])
    checks.equal("each rank's own GPU, by UUID, as CUDA counts them", [gpu["uuid"][:12] for gpu in (hot, cool)], ["GPU-abc00002", "GPU-abc00001"])
    checks.equal("memory, utilization, clocks, power and heat", [cool[k] for k in (
        "memory_used_bytes", "memory_total_bytes", "utilization_percent", "memory_utilization_percent", "sm_clock_mhz", "sm_clock_max_mhz",
        "memory_clock_mhz", "memory_clock_max_mhz", "power_w", "temperature_c")], [1 << 30, 80 << 30, 97, 41, 1755, 1980, 2619, 2619, 412, 61])
    checks.equal("throttle reasons in words", [hot["throttle"], cool["throttle"]], ["power cap, hardware thermal slowdown", "none"])
    checks.check("how often, and how low the clock was", hot["throttled_samples"] == hot["samples"] > 0 == cool["throttled_samples"]
                 and hot["sm_clock_lowest_mhz"] == 1005, hot)
    words = f"was throttled in {hot['samples']} of {hot['samples']} samples (power cap, hardware thermal slowdown), its SM clock down to 1005 MHz"
    checks.check("a throttled run says so at its end", "the GPU of rank 0 on " in said and words in said and "of 2 ranks' GPUs 1 were" in said, said)
    checks.check("and in status.json", words in seen.get("gpu_throttling", ""), seen)
    text = tiny.run(["status", out]).stdout.decode()
    for line in (" NVIDIA H100 80GB HBM3, busy 97 %, memory 1 of 80 GiB, SM 1005 of 1980 MHz, 412 W, 88 C, throttle: power cap, hardware thermal slowdown\n",
                 "1755 of 1980 MHz, 412 W, 61 C, throttle: none\n", "throttled in"):
        checks.check(f"status shows a line for each GPU: {line!r}", line in text, text)

    for words in ("", "lost", "hangs", "h100"):
        said, seen = run(words)
        checks.check(f"nothing of a throttle: {words or 'no NVML'}", "gpu_throttling" not in seen and "throttled" not in said, said)
        checks.equal(f"a GPU is shown where it tells something: {words or 'no NVML'}", "gpu" in seen["ranks"][0], words == "h100")

    running = subprocess.Popen(command(100000), env=environment("hot"), stderr=subprocess.DEVNULL)
    give_up, seen = time.monotonic() + 60, {}
    while time.monotonic() < give_up and running.poll() is None and not (seen.get("state") == "running" and "ranks" in seen):
        time.sleep(0.1)
        seen = status()
    checks.check("while it runs, too", seen.get("state") == "running" and seen["ranks"][0].get("gpu", {}).get("sm_clock_mhz") == 1005, seen)
    running.terminate()
    running.wait()


def check_gpu_memory(checks, tiny, _model):
    """The line of a GPU's memory, by run and by bench: the KV cache is what is free beside the weights, less workspace and margin."""
    trireme = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    if not os.path.exists(trireme):
        checks.skip("memory of a GPU", "this build has no emulated GPU")
        return
    model = tiny.model("memory", "--layers", "4")
    rows = tiny.put("memory.jsonl", lines({"prompt": "a", "max_tokens": 1}))
    for command in (["run", rows, "-m", model, "-o", tiny.path("memory.out"), "--restart"], ["bench", "decode", "-m", model, "--repeats", "1", "--steps", "1"]):
        for limit in ([], ["--kv-blocks", "8"]):
            done = subprocess.run([trireme, *command, "--device", "cuda", "--max-seqs", "256", *limit], env=tiny.environment(TRIREME_EMULATED_GPU_MIB="599"),
                                  capture_output=True, text=True, timeout=60)
            name = f"{command[0]} {' '.join(limit)}"
            checks.equal(f"{name} on a small GPU", done.returncode, 0)
            line = re.search(r"rank 0 on GPU 0 \(emulated, sm_80\): weights \d+ MiB; (\d+) MiB were free beside them: KV cache (\d+) MiB, workspace about (\d+) "
                             r"MiB(, margin (\d+) MiB and (\d+) %)?; (\d+) MiB are free now", done.stderr)
            if not checks.check(f"{name} tells a GPU's memory", line, done.stderr):
                continue
            free, cache, work, _, margin, share, now = (int(text) if text and text.isdigit() else text for text in line.groups())
            if limit:
                checks.equal(f"{name}: no margin where the size is given", margin, None)
            else:
                checks.check(f"{name}: the cache", (margin, share) == (256, 5) and abs(cache - (free - work - margin) * 0.95) <= 2 and cache > 20, line[0])
                checks.check(f"{name}: the margin is free", now >= margin, line[0])


def check_summary(checks, tiny, _model):
    """What a run says of itself at its end: steps that took time, memory as planned on every rank, on CPUs and on GPUs.
    A replica asks for four documents at most, so that each of two has some."""
    model = tiny.model("summary", "--layers", "2")
    rows = tiny.put("summary.jsonl", lines(*({"prompt": "a b c", "max_tokens": 4} for _ in range(6))))
    emulated = os.path.join(tiny.build, "tests", "device", "trireme_on_emulated_gpu")
    devices = [(tiny.trireme, ["--threads", "1"], {})]
    if os.path.exists(emulated):
        devices.append((emulated, ["--device", "cuda", "--nccl", "off"], {"TRIREME_EMULATED_GPUS": "4"}))
    for trireme, device, variables in devices:
        for tp, pp, dp in ((1, 1, 1), (3, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 2)):
            name, out = f"{tp} x {pp} x {dp} {device[1]}", tiny.path("summary.out")
            done = subprocess.run(["mpirun", "-n", str(tp * pp * dp), trireme, "run", rows, "-m", model, "-o", out, "--ignore-eos", "--restart", "--kv-blocks", "16", "--max-seqs", "2",
                                   "--tp", str(tp), "--pp", str(pp), "--dp", str(dp), *device], env=tiny.environment(**variables), capture_output=True, text=True, timeout=120)
            if not checks.equal(f"a run of {name}", done.returncode, 0):
                print(done.stderr[-2000:])
                continue
            with open(out + ".run/status.json", encoding="utf-8") as file:
                status = json.load(file)
            steps, memories = status["steps"], [rank["memory"] for rank in status["ranks"]]
            checks.check(f"what steps took, {name}", steps["decode_ms_per_token"] > 0 and steps["prefill_tokens_per_second"] > 0 and
                         0.99 <= steps["decode_sequences"] <= 4.01, steps)
            for rank, memory in enumerate(memories):
                checks.check(f"memory of rank {rank}, {name}", abs(memory["held_bytes"] / memory["planned_bytes"] - 1) <= 0.03 and
                             0 < memory["beside_bytes"] <= memory["beside_bound_bytes"] and
                             ("gpu_held_bytes" not in memory or abs(memory["gpu_held_bytes"] / memory["gpu_planned_bytes"] - 1) <= 0.03), memory)
            for words in (" ms a token of ", "prefill  ", "memory      rank "):
                checks.check(f"and the summary says {words!r}, {name}", words in done.stderr, done.stderr)


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        model = tiny.model("tiny", "--layers", "1")
        for part in (check_status, check_fault_of_another_rank, check_terminal, check_idle_followers, check_doctor, check_links, check_gpu_status, check_gpu_memory, check_summary):
            part(checks, tiny, model)
    checks.end()


if __name__ == "__main__":
    main()

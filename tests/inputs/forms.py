#!/usr/bin/env python3
"""What docs/formats.md promises of input and output, clause by clause, through the real program. Damaged rows and files are
for rows.py, the batch-request format for batch.py.

    tests/inputs/forms.py build/trireme"""
import gzip
import itertools
import json
import math
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


def results(out):
    return [json.loads(line) for line in out.splitlines()]


def answer(result):
    return result["text"], result["finish_reason"], result["usage"]


def check_contents(checks, tiny, model):
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Sum up.\n\nA document."}]
    _, out = tiny.corpus("contents", lines(
        {"id": "text", "text": "A document.", "max_tokens": 4}, {"id": "messages", "messages": chat, "max_tokens": 4},
        {"id": "parts", "messages": [chat[0], {"role": "user", "content": [{"type": "text", "text": "Sum up.\n"}, {"type": "text", "text": "A document."}]}],
         "max_tokens": 4},
        {"id": "ids", "token_ids": [4, 5, 6], "max_tokens": 4}, {"id": "prompt", "prompt": "A document.", "max_tokens": 4}),
        model, "--system", "Be kind.", "--instruction", "Sum up.")
    text, messages, parts, ids, prompt = results(out)
    checks.equal("text: system, instruction, blank line, document by the template", answer(text), answer(messages))
    checks.equal("content parts are one text", answer(parts), answer(messages))
    checks.equal("token_ids: nothing is added", ids["usage"]["prompt_tokens"], 3)
    checks.check("prompt: no template", prompt["usage"]["prompt_tokens"] < text["usage"]["prompt_tokens"], prompt)
    system = tiny.put("system.txt", "Be kind.")
    _, from_file = tiny.corpus("contents", tiny.path("contents.jsonl"), model, "--system", "@" + system, "--instruction", "Sum up.")
    checks.check("--system @FILE is the text", from_file == out)


def check_special_text(checks, tiny, model):
    """Text of a document that spells special tokens is plain text, letter for letter."""
    spelled = "<|im_end|><s></s><|endoftext|>"
    _, out = tiny.corpus("special", lines({"prompt": "x" * len(spelled), "max_tokens": 0}, {"prompt": spelled, "max_tokens": 0},
                                          {"text": "x" * len(spelled), "max_tokens": 0}, {"text": spelled, "max_tokens": 0}), model)
    counts = [r["usage"]["prompt_tokens"] for r in results(out)]
    checks.equal("special-token text in a prompt is as many tokens as letters", counts[1], counts[0])
    checks.equal("and in a document", counts[3], counts[2])


def check_rows(checks, tiny, model):
    own = '{"note":[1,2.50,null],"caf\u00e9":{"a":"b"}}'
    rows = (b'{"id": "a1", "prompt": "a", "note": [1, 2.50, null], "caf\xc3\xa9": {"a": "b"}}\n\n{"id": 7, "prompt": "b"}\n'
            b'{"id":"7","prompt":"b"}\n{"prompt":"c"}\n')
    _, out = tiny.corpus("rows", rows, model, "--max-tokens", "3")
    checks.equal("ids keep their type; without one the line number", [r["id"] for r in results(out)], ["a1", 7, "7", 5])
    checks.check("own fields come back as they were written", f'"input":{own},'.encode() in out, out)
    checks.equal("keys of a plain result, in order", list(results(out)[1]), ["id", "text", "finish_reason", "usage"])
    extras = ["--tokens", "--logprobs", "2", "--prompt-logprobs", "0", "--digest"]
    _, out = tiny.corpus("extras", rows, model, "--max-tokens", "3", "--ignore-eos", *extras)
    first = results(out)[0]
    checks.equal("keys of a result with everything, in order", list(first),
                 ["id", "input", "text", "finish_reason", "usage", "token_ids", "logprobs", "prompt_logprobs", "digest"])
    checks.equal("a log-prob entry a token, two alternatives", [len(e["top"]) for e in first["logprobs"]], [2, 2, 2])
    best = [e["top"][0] for e in first["logprobs"]]
    checks.equal("greedy: the chosen token is the best", [[e["id"], e["logprob"]] for e in first["logprobs"]], best)
    checks.equal("an entry a prompt position, null for the first",
                 [e is None for e in first["prompt_logprobs"]], [True] + [False] * (first["usage"]["prompt_tokens"] - 1))
    _, out = tiny.corpus("score", rows, model, "--max-tokens", "0", "--prompt-logprobs", "1", "--digest")
    checks.check("max_tokens 0 scores: no text, length, a digest",
                 all(r["text"] == "" and r["finish_reason"] == "length" and len(r["digest"]) == 16 for r in results(out)), out)


def check_overrides(checks, tiny, model):
    """A row's own sampling is the command line's for that row."""
    prompt = {"id": "p", "prompt": "The sea", "max_tokens": 12}
    for field, value, options in [("max_tokens", 5, ["--max-tokens", "5"]), ("temperature", 1.5, ["--temperature", "1.5"]),
                                  ("seed", 9, ["--seed", "9", "--temperature", "1"]), ("top_k", 2, ["--top-k", "2", "--temperature", "1"]),
                                  ("top_p", 0.3, ["--top-p", "0.3", "--temperature", "1"]), ("ignore_eos", True, ["--ignore-eos"])]:
        base = {k: v for k, v in prompt.items() if k != field}
        common = ["--temperature", "1"] if field in ("seed", "top_k", "top_p") else []
        _, row = tiny.corpus("row", lines({**base, field: value}), model, *common, "--tokens")
        _, line = tiny.corpus("line", lines(base), model, *options, "--tokens")
        checks.check(f"{field} of a row is that of the command line", row == line and row is not None, (row, line))
    _, plain = tiny.corpus("row", lines(prompt), model, "--tokens", "--ignore-eos")
    text = results(plain)[0]["text"]
    stop = text[len(text) // 2:][:2]
    _, cut = tiny.corpus("row", lines({**prompt, "stop": [stop]}), model, "--ignore-eos")
    checks.equal("stop: the text ends before it", (results(cut)[0]["text"], results(cut)[0]["finish_reason"]), (text.split(stop)[0], "stop"))


def check_nucleus(checks, tiny, model):
    """Of a nucleus that is small, or larger than what ranks show of their best tokens, by every token's log-prob."""
    rows = lines(*({"id": f"n{i}", "prompt": f"row {i}", "max_tokens": 20, "seed": i} for i in range(12)))
    for temperature, top_p in [(0.2, 0.5), (1, 0.5), (1, 0.9), (2, 0.99)]:
        cut = ["--temperature", str(temperature), "--top-p", str(top_p), "--tokens", "--ignore-eos"]
        _, out = tiny.corpus("nucleus", rows, model, *cut, "--logprobs", "1000")
        sizes, outside = [], []
        for entry in (entry for row in results(out) for entry in row["logprobs"]):
            weights = [math.exp((logprob - entry["top"][0][1]) / temperature) for _, logprob in entry["top"]]
            before = list(itertools.accumulate(weights, initial=0))
            nucleus = sum(mass < top_p * before[-1] for mass in before[:-1])
            sizes.append(nucleus)
            if entry["id"] not in [token for token, _ in entry["top"][:nucleus]]:
                outside.append(entry)
        name = f"temperature {temperature}, top_p {top_p}"
        checks.check(f"{name}: tokens of a nucleus ({min(sizes)} to {max(sizes)} of {len(weights)})", not outside, outside)
        ids = [row["token_ids"] for row in results(out)]
        for what, ranks, more in [("without log-probs", 1, []), ("two ranks", 2, ["--tp", "2"]), ("every token ranked", 1, ["--top-k", "1000"])]:
            _, other = tiny.corpus("nucleus", rows, model, *cut, *more, ranks=ranks)
            checks.equal(f"{name}, {what}: the same tokens", [row["token_ids"] for row in results(other)], ids)


def check_small_cache(checks, tiny, model):
    """Rows that a cache cannot hold are errors, whose words do not say how large it is: that is the layout's."""
    rows = lines({"prompt": "a" * 100, "max_tokens": 20}, {"prompt": "b", "max_tokens": 2})
    outputs = [tiny.corpus("small", rows, model, "--kv-blocks", blocks)[1] for blocks in ("1", "2")]
    checks.equal("too long for the cache", [r.get("error", {}).get("code") for r in results(outputs[0])], ["too_long", None])
    checks.check("on a larger one, still too small: the same bytes", outputs[0] == outputs[1], outputs)


def check_sources(checks, tiny, model):
    rows = lines(*({"id": i, "prompt": f"row {i}", "max_tokens": 2} for i in range(5)))
    _, expected = tiny.corpus("file", rows, model)
    zipped = gzip.compress(rows)
    for name, data in [("standard input", rows), ("standard input, gzip", zipped)]:
        done, seen = tiny.corpus("stdin", "-", model, stdin=data)
        checks.check(f"{name}: the same output", done.returncode == 0 and seen == expected, done.stderr)
    with open(tiny.path("stdin.out.jsonl.run/stdin"), "rb") as file:
        checks.check("standard input is kept in the run folder", file.read() == zipped)
    done, seen = tiny.corpus("stdin", "-", model, ranks=2, stdin=rows)
    checks.check("standard input on two ranks: the same output", done.returncode == 0 and seen == expected, done.stderr)

    files = {"b.txt": "B", "a/z.md": "Z", "a.txt": "dot before slash", "a/.hidden.txt": "no", ".git/c.txt": "no", "c.pdf": "no",
             "a/b/\u00fc.txt": "deep"}
    for name, text in files.items():
        tiny.put("folder/" + name, text)
    done, seen = tiny.corpus("folder", tiny.path("folder"), model, "--max-tokens", "2")
    checks.equal("a folder: .txt and .md, none hidden, in bytewise order; the path is the id", [r["id"] for r in results(seen)],
                 ["a.txt", "a/b/\u00fc.txt", "a/z.md", "b.txt"])
    _, by_rows = tiny.corpus("as-rows", lines(*({"id": r["id"], "text": files[r["id"]]} for r in results(seen))), model, "--max-tokens", "2")
    checks.check("a file is a text row", by_rows == seen)
    tiny.put("folder/b.txt", "C")
    done = tiny.run(["run", tiny.path("folder"), "-m", model, "-o", tiny.path("folder.out.jsonl"), "--max-tokens", "2"])
    checks.check("a file of the same length with another text makes another input", done.returncode == 78 and b"input.xxh3" in done.stderr, done.stderr)


def check_again(checks, tiny, model):
    rows = tiny.put("again.jsonl", lines({"prompt": "a", "max_tokens": 2}, {"prompt": 5}))
    out = tiny.path("again.out")
    command = ["run", rows, "-m", model, "-o", out]
    checks.equal("a run with an error row ends with 76", tiny.run(command).returncode, 76)
    with open(out, "rb") as file:
        before = file.read()
    done = tiny.run(command)
    checks.check("again: nothing to do, the same exit code", done.returncode == 76 and b"complete already" in done.stderr, done.stderr)
    checks.equal("stdout carries data only", done.stdout, b"")
    checks.equal("again with --allow-errors: 0", tiny.run([*command, "--allow-errors"]).returncode, 0)
    done = tiny.run([*command, "--max-tokens", "3"])
    checks.check("another option is refused with the difference", done.returncode == 78 and b"sampling.max_tokens: 256 before, 3 now" in done.stderr,
                 done.stderr)
    with open(out, "rb") as file:
        checks.check("and the output stays", file.read() == before)
    status = tiny.run(["status", out, "--json"])
    checks.check("status: done, 76, two documents, one error",
                 [json.loads(status.stdout).get(k) for k in ("state", "exit_code", "documents_done", "errors")] == ["done", 76, 2, 1], status.stdout)


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


def check_no_jsonl(checks, tiny, model):
    """Rows of whatever kind get results; that the whole file is none of rows is said before and after."""
    text, out = tiny.put("once.txt", "Once upon a time.\nThe end.\n"), tiny.path("once.out")
    done = tiny.run(["run", text, "-m", model, "-o", out])
    with open(out, "rb") as file:
        checks.equal("a text file as input: an error row a line, and 76", (done.returncode, len(file.readlines())), (76, 2))
    said = done.stderr.decode()
    for words in ("does not look like JSONL", "a folder of .txt and .md", "2 of 2 rows are errors, the first in line 1 of "):
        checks.check(f"and it says {words!r}", words in said, said)
    done = tiny.run(["run", tiny.put("rows.jsonl", lines({"prompt": "a", "max_tokens": 1})), "-m", model, "-o", tiny.path("rows.out")])
    checks.check("of rows it says nothing", done.returncode == 0 and b"JSONL" not in done.stderr, done.stderr)


def check_full_output(checks, tiny, model):
    """What nobody could write is no result: 74, and one line."""
    for command in (["topology"], ["plan", "--shape", "llama-3.1-8b", "--machine", "1 h100"], ["inspect", model], ["doctor"], ["run", "--help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([tiny.trireme, *command], env=tiny.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        checks.check(f"{command[0]} to a full disk", done.returncode == 74 and "cannot write to the standard output" in done.stderr, done.stderr)


def check_slurm_memory(checks, tiny, model):
    """Memory is at most what Slurm gave, by node or by CPU, whether or not a cgroup says so."""
    for given in ({"SLURM_MEM_PER_NODE": "200"}, {"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "2"}):
        done = subprocess.run([tiny.trireme, "plan", "-m", model, "--machine", "here"], env=tiny.environment(**given), capture_output=True, text=True, timeout=60)
        checks.check("a plan under Slurm's memory", "0.2 GB of memory are free" in done.stdout, done.stdout + done.stderr)


def check_inspect(checks, tiny, model):
    _, out = tiny.corpus("counted", lines({"prompt": "a", "max_tokens": 2}, {"prompt": "b", "max_tokens": 3}, {"prompt": ""},
                                          {"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "a", "max_tokens": 2}},
                                          {"custom_id": "d", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "a", "n": 2}}),
                         model, "--ignore-eos", "--digest")
    seen = json.loads(tiny.run(["inspect", tiny.path("counted.out.jsonl"), "--json"]).stdout)
    checks.equal("inspect of a result: rows by finish_reason", seen["finish_reasons"], {"error": 2, "length": 3})
    checks.equal("errors by code", sum(seen["errors"].values()), 2)
    checks.equal("bytes, rows, tokens, digests", [seen[k] for k in ("bytes", "rows", "completion_tokens", "digests")], [len(out), 5, 7, 3])
    other = tiny.run(["inspect", tiny.put("changed.jsonl", out.replace(b'"digest":"', b'"digest":"0', 1)), "--json"])
    checks.check("the digest of digests sees one that differs", json.loads(other.stdout)["digest"] != seen["digest"])


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

    said, _ = run("t4 h100 hot", 2, CUDA_VISIBLE_DEVICES="2,1", TRIREME_EMULATED_GPUS="2")
    checks.check("the map knows the GPUs of ranks: their data sheet chooses a layout", "auto layout: tp 1 x pp 1 x dp 2 " in said and "by the data sheet of these GPUs" in said, said)
    said, seen = run("t4 h100 hot", 2, "--tp", "2", CUDA_VISIBLE_DEVICES="2,1", TRIREME_EMULATED_GPUS="2")
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


def check_render(checks, tiny, model):
    """What render prints for a text is what run makes of it."""
    options = ["--instruction", "Do:", "--system", "You."]
    seen = tiny.run(["render", "-m", model, *options], stdin=b'{"text": "once"}\n')
    ids = json.loads(seen.stdout)["token_ids"] if seen.returncode == 0 else []
    by_ids = tiny.corpus("render-ids", lines({"id": 1, "token_ids": ids}), model, "--max-tokens", "0", "--digest", "--prompt-logprobs", "0")[1]
    by_text = tiny.corpus("render-text", lines({"id": 1, "text": "once"}), model, "--max-tokens", "0", "--digest", "--prompt-logprobs", "0", *options)[1]
    checks.check("render gives the ids that run takes", ids and by_ids == by_text, seen.stderr)


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        model = tiny.model("tiny", "--layers", "1")
        for part in (check_contents, check_special_text, check_rows, check_overrides, check_nucleus, check_small_cache, check_sources, check_again, check_status, check_fault_of_another_rank, check_terminal, check_idle_followers, check_no_jsonl, check_full_output, check_slurm_memory, check_inspect, check_doctor, check_links, check_gpu_status, check_summary, check_render):
            part(checks, tiny, model)
    checks.end()


if __name__ == "__main__":
    main()

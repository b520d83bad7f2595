#!/usr/bin/env python3
"""What docs/formats.md promises of input and output, clause by clause, through the real program. Damaged rows and files are
for rows.py, the batch-request format for batch.py.

    tests/inputs/forms.py build/trireme"""
import gzip
import itertools
import json
import math
import os
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
        for part in (check_contents, check_special_text, check_rows, check_overrides, check_nucleus, check_small_cache, check_sources, check_again, check_no_jsonl, check_full_output, check_slurm_memory, check_inspect, check_render):
            part(checks, tiny, model)
    checks.end()


if __name__ == "__main__":
    main()

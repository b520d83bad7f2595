#!/usr/bin/env python3
"""bench quality and docs/examples/loglikelihood.py on tiny models, beside what `run --prompt-logprobs` gives.

    quality_test.py build/trireme build/tests/testkit/make_tiny_model docs/examples/loglikelihood.py"""

import json
import math
import os
import subprocess
import sys
import tempfile

TRIREME, MAKE_TINY_MODEL, LOGLIKELIHOOD = map(os.path.abspath, sys.argv[1:])
SHAPE = ["--layers", "3", "--heads", "4", "--kv-heads", "2", "--hidden", "64", "--intermediate", "96", "--context", "96"]
VOCAB = 259  # bytes and three special tokens: `run` can list all of them
WINDOW, UNSCORED = 48, 5
TEXT = "".join(f"Sentence {i} of a text — it says {i * i % 97}, and then goes on. " for i in range(7))


def call(*words, ranks=0, code=0):
    launcher = ["mpirun", "-n", str(ranks)] if ranks else []
    done = subprocess.run(launcher + [TRIREME, *words], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == code, f"{words}: exit {done.returncode}, expected {code}: {done.stderr}"
    return done.stdout if code == 0 else done.stderr


def quality(*words, ranks=0):
    result = json.loads(call("bench", "quality", "--json", "--log-level", "warn", *words, ranks=ranks))
    for changing in ("layout", "version", "commit"):
        del result[changing]
    return result


def close(a, b, limit=1e-6):
    assert abs(a - b) <= limit * max(1, abs(b)), f"{a} is not {b}"


def all_logprobs(model, rows, *options):
    """Of every position of every row after the first: the token's own log-prob, and all tokens'."""
    with open("rows.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"token_ids": row}) + "\n" for row in rows)
    call("run", "rows.jsonl", "-m", model, "-o", "out.jsonl", "--restart", "--max-tokens", "0", "--prompt-logprobs", str(VOCAB), *options)
    with open("out.jsonl", encoding="utf-8") as file:
        results = [json.loads(line)["prompt_logprobs"][1:] for line in file]
    return [[(entry["logprob"], dict(map(tuple, entry["top"]))) for entry in row] for row in results]


def windows_of(ids):
    """(tokens, index of the first that counts) by the rule of docs/operations.md."""
    for begin in range(0, len(ids) - UNSCORED, WINDOW - UNSCORED):
        yield ids[begin:begin + WINDOW], max(1, UNSCORED if begin else 0)


def check_against_run(ids):
    """Every figure again, by Python, from the log-probs of `run`."""
    cut = list(windows_of(ids))
    rows = [tokens for tokens, _ in cut]
    tested, reference = all_logprobs("q8.gguf", rows), all_logprobs("f32.gguf", rows)
    losses, ratios, divergences, agreements = [], [], [], []
    for (tokens, first), ours, theirs in zip(cut, tested, reference):
        for (logprob, p), (their_logprob, q) in list(zip(ours, theirs))[first - 1:]:
            losses.append(-logprob)
            ratios.append(their_logprob - logprob)
            divergences.append(sum(math.exp(q[t]) * (q[t] - p[t]) for t in q))
            agreements.append(max(p, key=p.get) == max(q, key=q.get))
    found = quality("-m", "q8.gguf", "--against", "f32.gguf", "text.txt", "--window", str(WINDOW), "--unscored", str(UNSCORED))
    n = len(losses)
    assert found["positions"] == n == len(ids) - 1, "every token but the first counts once"
    assert found["windows"] == len(cut) and found["tokens"] == len(ids)
    close(found["perplexity"]["value"], math.exp(sum(losses) / n))
    close(found["perplexity_ratio"]["value"], math.exp(sum(ratios) / n))
    close(found["kl"]["value"], sum(divergences) / n)
    close(found["top1_agreement"]["value"], sum(agreements) / n)
    worst = max(range(n), key=divergences.__getitem__)
    close(found["worst"]["kl"], divergences[worst], 1e-5)
    assert found["worst"]["token"] == worst + 1
    assert 1e-6 < found["kl"]["low"] < found["kl"]["value"] < found["kl"]["high"], "INT8 weights are near, and others"
    alone = quality("-m", "q8.gguf", "text.txt", "--window", str(WINDOW), "--unscored", str(UNSCORED))
    assert alone["perplexity"] == found["perplexity"]
    close(-alone["worst"]["logprob"], max(losses))
    assert alone["worst"]["token"] == losses.index(max(losses)) + 1
    return found


def check_itself():
    found = quality("-m", "q8.gguf", "--against", "q8.gguf", "text.txt")
    assert found["window"] == 96 and found["unscored"] == 12, "a window is no longer than the context"
    assert found["kl"] == {"value": 0, "low": 0, "high": 0}
    assert found["top1_agreement"] == {"value": 1, "low": 1, "high": 1}
    assert found["perplexity_ratio"]["value"] == 1
    assert found["worst"]["kl"] == 0
    modes = quality("-m", "q8.gguf", "--against-numerics", "exact", "text.txt")
    assert modes["kl"]["value"] > 0 and "exact" in modes["reference_numerics"]


def check_layouts(expected):
    words = ("-m", "q8.gguf", "--against", "f32.gguf", "text.txt", "--window", str(WINDOW), "--unscored", str(UNSCORED))
    for ranks, options in ((0, ("--max-step-tokens", "7", "--threads", "2")), (2, ("--tp", "2")), (3, ("--pp", "3"))):
        assert quality(*words, *options, ranks=ranks) == expected, f"other numbers on {ranks} ranks with {options}"


def check_refusals():
    with open("latin1.txt", "wb") as file:
        file.write(b"caf\xe9")
    with open("a.txt", "w", encoding="utf-8") as file:
        file.write("a")
    for code, words, part in (
            (64, ("quality", "-m", "q8.gguf"), "no text was given"),
            (64, ("decode", "-m", "q8.gguf", "text.txt"), "takes no text"),
            (64, ("qualty", "-m", "q8.gguf", "text.txt"), "did you mean quality?"),
            (64, ("quality", "-m", "q8.gguf", "text.txt", "--window", "97"), "context of the model is 96"),
            (64, ("quality", "-m", "q8.gguf", "text.txt", "--window", "8", "--unscored", "7"), "at most 6"),
            (65, ("quality", "-m", "q8.gguf", "latin1.txt"), "byte 3 is 0xe9"),
            (65, ("quality", "-m", "q8.gguf", "a.txt"), "nothing to predict"),
            (65, ("quality", "-m", "q8.gguf", "--against", "wide.gguf", "text.txt"), "models of one vocabulary"),
            (66, ("quality", "-m", "q8.gguf", "absent.txt"), "absent.txt")):
        said = call("bench", *words, code=code)
        assert part in said, f"{words}: {said}"
    one = quality("-m", "q8.gguf", "short.txt")
    assert one["windows"] == 1 and one["perplexity"]["low"] is None, "one window has no spread"


def check_loglikelihood():
    questions = [{"context": "The sky is ", "continuations": ["blue", "a square of nine", "x"]},
                 {"context": "", "continuations": [" one", " two"]}, {"context": "Tokens", "continuations": ["!", " end"]}]
    sums = []
    for q in questions:
        sums.append([])
        for continuation in q["continuations"]:
            # With a token a byte, the border is where the bytes say; the space before it goes with the continuation.
            ids = json.loads(call("tokenize", "-m", "f32.gguf", "--text", q["context"] + continuation))["token_ids"]
            rest = len((" " if q["context"].endswith(" ") else "").encode()) + len(continuation.encode())
            ids = ids if q["context"] else [BOS] + ids
            sums[-1].append(sum(logprob for logprob, _ in all_logprobs("f32.gguf", [ids])[0][-rest:]))
    best = [row.index(max(row)) for row in sums]
    for q, b in zip(questions, best):
        q["gold"] = b
    questions[0]["gold"] = (best[0] + 1) % 3  # a wrong one
    with open("questions.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(q) + "\n" for q in questions)
    said = subprocess.run([sys.executable, LOGLIKELIHOOD, TRIREME, "f32.gguf", "questions.jsonl", "--scores", "scores.jsonl", "--", "--log-level", "warn"],
                          check=True, capture_output=True, text=True).stdout
    report = json.loads(said)
    assert report["questions"] == 3 and report["acc"] == 2 / 3, report
    with open("scores.jsonl", encoding="utf-8") as file:
        for expected, b, line, q in zip(sums, best, file, questions):
            found = json.loads(line)
            for a, e in zip(found["logprobs"], expected):
                close(a, e)
            assert found["best"] == b
            norms = [s / len(c.lstrip(" ")) for s, c in zip(expected, q["continuations"])]
            assert found["best_norm"] == norms.index(max(norms))


with tempfile.TemporaryDirectory(prefix="trireme-quality-") as folder:
    os.chdir(folder)
    for name, options in (("f32.gguf", ["--type", "f32"]), ("q8.gguf", ["--type", "q8_0"]), ("wide.gguf", ["--vocab", "300"])):
        subprocess.run([MAKE_TINY_MODEL, name, *SHAPE, *(["--vocab", str(VOCAB)] if "--vocab" not in options else []), *options], check=True)
    for name, text in (("text.txt", TEXT), ("short.txt", TEXT[:60])):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    BOS = json.loads(call("tokenize", "-m", "f32.gguf", "--bos", "--text", ""))["token_ids"][0]
    token_ids = json.loads(call("tokenize", "-m", "f32.gguf", "--text", TEXT))["token_ids"]
    figures = check_against_run(token_ids)
    check_itself()
    check_layouts(figures)
    check_refusals()
    check_loglikelihood()
print("5 passed, 0 failed, 0 skipped")

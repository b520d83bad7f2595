#!/usr/bin/env python3
"""Scores multiple choice by log-likelihood, as lm-eval does: which continuation does the model find likeliest?

    loglikelihood.py TRIREME MODEL QUESTIONS.jsonl [--bos] [--scores FILE] [-- options of `trireme run`]

A question is one line: {"context": "The sky is", "continuations": [" blue", " square"], "gold": 0}. The last line of the
output has the accuracy by the sum of log-probs (acc) and by the sum per character (acc_norm); --scores writes one line a
question. Needs nothing but Python. More ranks: give "mpirun -n 4 trireme" as TRIREME."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile


def read_questions(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            question = json.loads(line)
            if not isinstance(question.get("context"), str) or not question.get("continuations"):
                sys.exit(f'{path}, line {number}: a question needs "context" (text) and "continuations" (a list of texts)')
            yield question


def split_pair(context, continuation):
    """Spaces at the end of the context belong to the continuation: tokenizers join them with the next word."""
    stem = context.rstrip()
    return stem, context[len(stem):] + continuation


def tokenize(trireme, model, texts, bos):
    """Token ids of every text. One call: the model's tokenizer is read once. Special-token text is plain text."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    # `tokenize` is one process whatever the launcher.
    command = [trireme[-1], "tokenize", "-m", model] + (["--bos"] if bos else [])
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        sys.exit(done.returncode)
    return [json.loads(line)["token_ids"] for line in done.stdout.splitlines()]


def make_rows(trireme, model, questions, always_bos):
    """Rows for `run`, and for each the number of its tokens that are context.

    The pair is tokenized together, since that is how the text would be, and the continuation is what comes after as many
    tokens as the context has by itself. An empty context is BOS."""
    pairs = [split_pair(q["context"], c) for q in questions for c in q["continuations"]]
    plain = tokenize(trireme, model, [text for stem, rest in pairs for text in (stem + rest, stem)], bos=False)
    bos = tokenize(trireme, model, [""], bos=True)[0] if always_bos or any(not stem for stem, _ in pairs) else []
    rows, borders = [], []
    for i, (stem, _) in enumerate(pairs):
        whole, border = plain[2 * i], len(plain[2 * i + 1])
        if always_bos or not stem:
            whole, border = bos + whole, len(bos) + (border if stem else 0)
        if border >= len(whole):
            sys.exit(f"pair {i}: the continuation has no token of its own; see {json.dumps(pairs[i])}")
        rows.append({"id": i, "token_ids": whole})
        borders.append(border)
    return rows, borders


def run(trireme, model, rows, options):
    """The log-prob of every token of every row but the first."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "rows.jsonl"), os.path.join(folder, "out.jsonl")
        with open(source, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        command = trireme + ["run", source, "-m", model, "-o", target, "--max-tokens", "0", "--prompt-logprobs", "0"]
        code = subprocess.run(command + options, stdout=sys.stderr).returncode
        if code and not os.path.exists(target):
            sys.exit(code)
        with open(target, encoding="utf-8") as file:
            results = [json.loads(line) for line in file]
    for result in results:
        if result.get("error"):
            sys.exit(f"pair {result['id']}: {result['error']['message']}")
    return [[entry and entry["logprob"] for entry in result["prompt_logprobs"]] for result in results]


def best(scores):
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trireme", help='the program, or "mpirun -n 4 build/trireme"')
    parser.add_argument("model")
    parser.add_argument("questions")
    parser.add_argument("--bos", action="store_true", help="begin every context with BOS (lm-eval's add_bos_token)")
    parser.add_argument("--scores", help="write one line a question here")
    arguments = sys.argv[1:]
    border = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:border])
    trireme, questions = shlex.split(args.trireme), list(read_questions(args.questions))
    rows, borders = make_rows(trireme, args.model, questions, args.bos)
    logprobs = run(trireme, args.model, rows, arguments[border + 1:])

    sums, at = [], 0
    for question in questions:
        pairs = range(at, at + len(question["continuations"]))
        sums.append([sum(logprobs[i][borders[i]:]) for i in pairs])
        at = pairs.stop
    right = right_norm = counted = 0
    with open(args.scores or os.devnull, "w", encoding="utf-8") as file:
        for question, scores in zip(questions, sums):
            # By characters, without the space that only joins the texts.
            norms = [s / max(1, len(c.lstrip(" "))) for s, c in zip(scores, question["continuations"])]
            file.write(json.dumps({"logprobs": scores, "best": best(scores), "best_norm": best(norms)}) + "\n")
            if "gold" in question:
                counted += 1
                right += best(scores) == question["gold"]
                right_norm += best(norms) == question["gold"]
    report = {"questions": len(questions)}
    if counted:
        report |= {"acc": right / counted, "acc_norm": right_norm / counted}
    print(json.dumps(report))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Documents that a run answered with too_long, in parts that fit; and the answers to the parts, joined to one document each.

    split_long.py DOCS OUT.jsonl [--chars N] > parts.jsonl     DOCS: the run's input, JSONL (not compressed) or a folder
    split_long.py --join PARTS-OUT.jsonl > joined.jsonl

Part 2 of document "a" has the id "a#2". English has about four characters a token: N is four times the model's context, less
what instruction and answer take. Needs nothing but Python."""

import argparse
import json
import os
import sys

ENDS = ("\n\n", "\n", ". ", " ")  # of a part, the best first


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def read_documents(path):
    """(id, row) of each document. A row that is no JSON has no part."""
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            for name in names:
                if name.endswith((".txt", ".md")):
                    file = os.path.join(folder, name)
                    with open(file, encoding="utf-8", errors="replace") as text:
                        yield os.path.relpath(file, path), {"text": text.read()}
        return
    for number, line in read_rows(path):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        yield row.get("id", number), row


def cut(text, chars):
    while len(text) > chars:
        places = [text.rfind(end, chars // 2, chars) + len(end) for end in ENDS if text.rfind(end, chars // 2, chars) >= 0]
        place = places[0] if places else chars
        yield text[:place]
        text = text[place:]
    yield text


def split(docs, out, chars):
    results = (json.loads(line) for _, line in read_rows(out))
    long = {json.dumps(r["id"]) for r in results if (r.get("error") or {}).get("code") == "too_long"}
    for name, row in read_documents(docs):
        if json.dumps(name) not in long:
            continue
        field = next((f for f in ("text", "prompt") if isinstance(row.get(f), str)), None)
        if field is None:
            print(f"{name}: neither text nor prompt; split it yourself", file=sys.stderr)
            continue
        for number, part in enumerate(cut(row[field], chars), 1):
            print(json.dumps({**row, "id": f"{name}#{number}", field: part}, ensure_ascii=False))


def join(out):
    answers, failed = {}, set()
    for _, line in read_rows(out):
        result = json.loads(line)
        name = result["id"].rpartition("#")[0]
        if result["text"] is None:
            failed.add(name)
        else:
            answers.setdefault(name, []).append(result["text"].strip())
    for name, texts in answers.items():
        if name not in failed:
            print(json.dumps({"id": name, "text": "\n\n".join(texts)}, ensure_ascii=False))
    for name in sorted(failed):
        print(f"{name}: a part of it is an error; it is left out", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--chars", type=int, default=20000)
    parser.add_argument("--join", metavar="PARTS-OUT.jsonl")
    args = parser.parse_args()
    if args.join:
        return join(args.join)
    if not args.out or args.chars < 2:
        parser.error("give the run's input and its output, or --join; --chars at least 2")
    split(args.docs, args.out, args.chars)


if __name__ == "__main__":
    main()

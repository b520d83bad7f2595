#!/usr/bin/env python3
"""Compares the tokenizer with PyPI tokenizers over random strings.

    differential.py BUILD/tests/text/tokenize_lines TOKENIZER.json... [--families] [--count N] [--seed N] [--long BYTES]

Untrusted text must equal encode_special_tokens=True, trusted text the default; decoding must be equal, too, at once and as a
stream, which never shows half a character. --families: each of golden_tokenizers.py as well. --long: words of that length, too,
with the time that they take. Prints the number of comparisons and the first differences; exits 1 when there are any.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer

import golden_tokenizers
import make_golden

SCRIPTS = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5F4),
           (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE5B), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F),
           (0x20A0, 0x20BF), (0x2150, 0x218B), (0x2460, 0x24FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
           (0xFB00, 0xFB06), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF)]
BITS = [" ", "  ", "\n", "\r\n", "\t", "\n\n", "'s", "'ll", "'RE", "'ſ", "1", "23", "4567", "½", "Ⅷ", "٣", "\u200d", "\u200b",
        "\u00a0", "\u180e", "\u2028", "\x00", "\x1f", "\x7f", "\x85", "\ufeff", "\ufffd", "e\u0301", "a\u0323\u0302",
        "the", " of", "Licence", "def f(x):", "http://a.b/c?d=e", "...", "—", "“", "👩‍👩‍👧", "🇩🇪", "ÅÅ", "<", "<|", "|>"]


def random_text(rng, specials):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 40])):
        kind = rng.random()
        if kind < 0.35:
            parts.append(rng.choice(BITS))
        elif kind < 0.45 and specials:
            token = rng.choice(specials)
            parts.append(token if rng.random() < 0.6 else token[:rng.randrange(len(token) + 1)])
        elif kind < 0.55:
            parts.append(rng.choice([" ", "\n", "\t", "\r\n", "\u3000"]) * rng.randrange(1, 12))
        else:
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 9))))
    return "".join(parts)


def ours(program, path, lines):
    answer = subprocess.run([program, path], input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True,
                            text=True, check=True).stdout
    return [json.loads(line) for line in answer.split("\n")[:-1]]


def long_words(rng, size):
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["a" * size, " " * size, "".join(rng.choice(letters) for _ in range(size)), "\u4e2d" * (size // 3), "\U0001F469\u200D" * (size // 7),
            "e\u0301" * (size // 3), "\u0301" * (size // 2), "\n" * size, "\u2581" * (size // 3), "0" * size, "<" * size, "\x00" * size]


def compare(program, path, options):
    rng = random.Random(options.seed)
    trusting, wary = Tokenizer.from_file(path), Tokenizer.from_file(path)
    wary.encode_special_tokens = True
    specials = [token.content for token in trusting.get_added_tokens_decoder().values()]
    hidden = golden_tokenizers.hidden_specials(trusting)
    texts = make_golden.strings() + [random_text(rng, specials + ["<0x41>", "<0xE2>", "\u2581"]) for _ in range(options.count)]
    texts += long_words(rng, options.long) if options.long else []
    size = trusting.get_vocab_size() + 3
    random_ids = [[rng.randrange(size) for _ in range(rng.randrange(1, 20))] for _ in range(options.count // 4)]

    def ids(tokenizer, text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    cases = [(text, ids(wary, text)) for text in texts if not any(token in text for token in hidden)]
    cases += [({"text": text, "trusted": True}, ids(trusting, text)) for text in texts]
    for sequence in random_ids + [ids(trusting, text) for text in texts[::4]]:
        for skip in (False, True):
            cases.append(({"ids": sequence, "skip_special": skip}, trusting.decode(sequence, skip_special_tokens=skip)))
        cases.append(({"ids": sequence, "stream": True}, trusting.decode(sequence)))
    start = time.time()
    got = ours(program, path, [case for case, _ in cases])
    got = ["".join(seen) if isinstance(case, dict) and "stream" in case else seen for (case, _), seen in zip(cases, got)]
    wrong = [(case, expected, seen) for (case, expected), seen in zip(cases, got) if expected != seen]
    for case, expected, seen in wrong[:5]:
        print("input   ", json.dumps(case)[:600]), print("expected", json.dumps(expected)[:600]), print("seen    ", json.dumps(seen)[:600])
    print(f"{path}: {len(texts)} strings, {len(cases)} comparisons, {len(wrong)} differences, {time.time() - start:.1f} s")
    return bool(wrong) or len(got) != len(cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="*")
    parser.add_argument("--families", action="store_true")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = list(options.tokenizers)
        for name in golden_tokenizers.FAMILIES if options.families else ():
            paths.append(f"{folder}/{name}.json")
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(golden_tokenizers.source(name, make_golden.CORPUS * 3))
        sys.exit(1 if sum([compare(options.program, path, options) for path in paths]) else 0)


if __name__ == "__main__":
    main()

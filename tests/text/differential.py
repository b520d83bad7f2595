#!/usr/bin/env python3
"""Compares the tokenizer with PyPI tokenizers over random strings.

    differential.py BUILD/tests/text/tokenize_lines TOKENIZER.json [--count N] [--seed N]

Untrusted text must equal encode_special_tokens=True, trusted text the default; decoding must be equal, too. Prints the
number of comparisons and the first differences; exits 1 when there are any.
"""
import argparse
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("tokenizer")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    trusting, wary = Tokenizer.from_file(options.tokenizer), Tokenizer.from_file(options.tokenizer)
    wary.encode_special_tokens = True
    specials = [token.content for token in trusting.get_added_tokens_decoder().values()]
    texts = [random_text(rng, specials) for _ in range(options.count)]
    size = trusting.get_vocab_size() + 3
    random_ids = [[rng.randrange(size) for _ in range(rng.randrange(1, 20))] for _ in range(options.count // 4)]

    def ids(tokenizer, text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    cases = [(text, ids(wary, text)) for text in texts]
    cases += [({"text": text, "trusted": True}, ids(trusting, text)) for text in texts]
    for sequence in random_ids + [ids(trusting, text) for text in texts[::4]]:
        for skip in (False, True):
            cases.append(({"ids": sequence, "skip_special": skip}, trusting.decode(sequence, skip_special_tokens=skip)))
    got = ours(options.program, options.tokenizer, [case for case, _ in cases])
    wrong = [(case, expected, seen) for (case, expected), seen in zip(cases, got) if expected != seen]
    for case, expected, seen in wrong[:10]:
        print("input   ", json.dumps(case)), print("expected", json.dumps(expected)), print("seen    ", json.dumps(seen))
    print(f"{len(cases)} comparisons, {len(wrong)} differences")
    sys.exit(1 if wrong or len(got) != len(cases) else 0)


if __name__ == "__main__":
    main()

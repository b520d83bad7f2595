"""Prompts for the law test: 1 to 1500 tokens, greedy and sampled, with every output that could betray a difference."""
import json
import random


def rows(vocab, longest, count, seed=1):
    """Rows of {"token_ids"} with their own sampling; ids are strings, so that noise does not depend on the line."""
    rng = random.Random(seed)
    lengths = [1, 2, 3, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257, 300, 400, 511, 512, 700, 1000, 1500]
    lengths = [n for n in lengths if n <= longest]
    while len(lengths) < count:
        lengths.append(rng.randint(1, min(longest, 200)))
    result = []
    for i, n in enumerate(lengths[:count]):
        row = {"id": f"p{i}", "token_ids": [rng.randrange(vocab) for _ in range(n)], "max_tokens": rng.choice([3, 7, 12, 33])}
        kind = i % 6
        if kind == 1:
            row.update(temperature=0.8, seed=i)
        elif kind == 2:
            row.update(temperature=1.2, top_k=20, top_p=0.9, seed=7)
        elif kind == 3:
            row.update(ignore_eos=True)
        elif kind == 4:  # a nucleus of more tokens than ranks show of it
            row.update(temperature=1.5, top_p=0.97, seed=i)
        elif kind == 5:  # more than that are ranked
            row.update(temperature=1, top_k=300, top_p=0.8, seed=i)
        result.append(row)
    return result


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")

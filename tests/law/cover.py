"""Choosing runs: every pair of values of any two dimensions in as few runs as a greedy search finds."""
import itertools
import random


def pairwise(dimensions, valid, seed=1, tries=60):
    """dimensions: {name: [values]}. Yields dicts until every pair that some valid run can have is in one."""
    rng = random.Random(seed)
    names = list(dimensions)
    open_pairs = set()
    for a, b in itertools.combinations(names, 2):
        for x, y in itertools.product(dimensions[a], dimensions[b]):
            open_pairs.add((a, x, b, y))

    def pairs(run):
        return {(a, run[a], b, run[b]) for a, b in itertools.combinations(names, 2)}

    while open_pairs:
        best, gain = None, 0
        seed_pair = rng.choice(sorted(open_pairs, key=repr))
        for _ in range(tries):
            run = {n: rng.choice(dimensions[n]) for n in names}
            run[seed_pair[0]], run[seed_pair[2]] = seed_pair[1], seed_pair[3]
            if valid(run) and len(pairs(run) & open_pairs) > gain:
                best, gain = run, len(pairs(run) & open_pairs)
        if best is None:  # no valid run has this pair
            open_pairs.discard(seed_pair)
            continue
        open_pairs -= pairs(best)
        yield best


def layouts(max_ranks):
    """All (tp, pp, dp) with tp * pp * dp <= max_ranks."""
    return [(tp, pp, dp) for n in range(1, max_ranks + 1) for tp in range(1, n + 1) if n % tp == 0
            for pp in range(1, n // tp + 1) if (n // tp) % pp == 0 for dp in [n // tp // pp]]

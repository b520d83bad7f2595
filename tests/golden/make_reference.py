#!/usr/bin/env python3
"""Writes smollm2_fp32.json: what transformers says in FP32 about a set of prompts.

    python3 tests/golden/make_reference.py [--check-import] > tests/golden/smollm2_fp32.json

Per prompt: token_ids; logprobs[i] = log P(token_ids[i + 1] | token_ids[:i + 1]); top[i] = the five best ids and their log-probs after
position i (the last entry is the first generated position); greedy = 32 tokens, margins[j] = lead of greedy[j] over the second best.
"""

import json
import sys

import torch

import reference

LICENSES = "/usr/share/common-licenses/"


def prompts(tokenizer):
    def ids(text):
        return tokenizer.encode(text).ids

    def license(name, begin, count):
        with open(LICENSES + name, encoding="utf-8") as f:
            return ids(f.read())[begin:begin + count]

    texts = ["The", "Once upon a time", "def fibonacci(n):\n    ", "2 + 2 = 4, 12345 * 678 = ", "Größe, naïve, 日本語, 🚢 and \t tabs\n\n\n",
             "Question: What is the capital of France?\nAnswer:"]
    yield from ((repr(t), ids(t)) for t in texts)
    cuts = [("Apache-2.0", 0, 17), ("BSD", 0, 31), ("GPL-2", 100, 32), ("GPL-3", 500, 33), ("Artistic", 0, 64), ("MPL-2.0", 300, 100),
            ("LGPL-3", 0, 128), ("GFDL-1.3", 1000, 200), ("GPL-3", 2000, 256), ("CC0-1.0", 0, 257), ("LGPL-2.1", 700, 400),
            ("Apache-2.0", 100, 600)]
    yield from ((f"{name}[{begin}:{begin + count}]", license(name, begin, count)) for name, begin, count in cuts)
    questions = ["Who are you?", "Write a short poem about the sea.", "List three prime numbers and explain why they are prime."]
    yield from ((f"chat {q!r}", ids(reference.chat(q))) for q in questions)
    for name, begin, count in [("BSD", 0, 150), ("GPL-2", 0, 300), ("MPL-1.1", 200, 450)]:
        document = tokenizer.decode(license(name, begin, count))
        yield f"chat summary of {name}", ids(reference.chat("Summarize this document.\n\n" + document))


@torch.no_grad()
def describe(model, name, ids):
    out = model(torch.tensor([ids]), use_cache=True)
    lp = torch.log_softmax(out.logits[0].double(), dim=-1)
    best = lp.topk(5)
    chosen = [round(lp[i, ids[i + 1]].item(), 5) for i in range(len(ids) - 1)]
    top = [[[t, round(p, 5)] for t, p in zip(row_ids, row)] for row_ids, row in zip(best.indices.tolist(), best.values.tolist())]
    greedy, margins, row = [], [], lp[-1]
    for _ in range(32):
        first, second = row.topk(2).values.tolist()
        greedy.append(row.argmax().item())
        margins.append(round(first - second, 5))
        out = model(torch.tensor([greedy[-1:]]), past_key_values=out.past_key_values, use_cache=True)
        row = torch.log_softmax(out.logits[0, -1].double(), dim=-1)
    return {"name": name, "token_ids": ids, "logprobs": chosen, "top": top, "greedy": greedy, "margins": margins}


def check_import(model, path):
    """transformers' own GGUF import must agree with our dequantization and row order, value by value."""
    import os
    import transformers
    other = transformers.LlamaForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32)
    theirs = other.state_dict()
    for name, ours in model.state_dict().items():
        assert torch.equal(ours, theirs[name]), name
    print(f"{len(theirs)} tensors equal to transformers' own GGUF import", file=sys.stderr)


def main():
    path = reference.model_path()
    model, tokenizer = reference.load_model(path), reference.load_tokenizer(path)
    if "--check-import" in sys.argv:
        check_import(model, path)
    entries = []
    for name, ids in prompts(tokenizer):
        entries.append(describe(model, name, ids))
        print(f"{name}: {len(ids)} tokens, continues {tokenizer.decode(entries[-1]['greedy'])!r}", file=sys.stderr)
    header = {"model": "SmolLM2-135M-Instruct.Q4_1.gguf", "torch": torch.__version__.split("+")[0], "dtype": "float32"}
    lines = ",\n".join(json.dumps(e, separators=(",", ":"), ensure_ascii=False) for e in entries)
    print(json.dumps(header)[:-1] + ', "prompts": [\n' + lines + "\n]}")


if __name__ == "__main__":
    main()

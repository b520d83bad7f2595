#!/usr/bin/env python3
"""Writes goldens.json: what transformers computes for the models of models.py in FP32 with eager attention. For developers: needs
torch and transformers; CI reads only the result (check.py).

    tests/golden/families/make_goldens.py [--family NAME]      NAME: only that model, the others keep their goldens

Also proves what check.py relies on: FP32 agrees with FP64, no router decides by a hair, every feature that is switched off moves
some log-prob by more than SEEN, and the models are lively. Each prompt is computed whole, again for every greedy token, so no
cache has a part in it. With longrope no generation crosses the original context, where transformers would compute all anew."""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import warnings

import torch
import transformers

import folder
import models

HERE = os.path.dirname(os.path.abspath(__file__))
GREEDY = 12
SEEN = 0.02            # a feature switched off must move a log-prob by this much
STABLE = 1e-4          # FP32 against FP64, over all log-probs
ROUTER_GAP = 2e-4      # between the last chosen and the first unchosen expert's logit


def prompts_of(model):
    vocab = model["config"]["vocab_size"]
    for length in model["prompts"]:
        stream = hashlib.shake_256(f"trireme prompts/{model['name']}/{length}".encode()).digest(4 * length)
        yield [int.from_bytes(stream[4 * i:4 * i + 4], "little") % vocab for i in range(length)]


def load(path):
    """In FP32, whatever the folder says. No tensor may be missing or left over: transformers would only warn."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager",
                                                                      experts_implementation="eager", output_loading_info=True)
    faults = {key: value for key, value in info.items() if value}
    if faults:
        raise SystemExit(f"{path}: {faults}")
    return model.eval()


class Fp64:
    """While it holds, code that asks for float32 gets float64: norms and softmax name their type."""

    def __enter__(self):
        self.saved = torch.float32, torch.float, torch.Tensor.float
        torch.float32, torch.float, torch.Tensor.float = torch.float64, torch.float64, torch.Tensor.double

    def __exit__(self, *_):
        torch.float32, torch.float, torch.Tensor.float = self.saved


def log_probs(model, tokens):
    """[tokens, vocab]"""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


def next_log_probs(model, tokens):
    rows = log_probs(model, tokens)
    return [float(rows[i, tokens[i + 1]]) for i in range(len(tokens) - 1)], rows


def golden_of_prompt(model, tokens):
    logprobs, rows = next_log_probs(model, tokens)
    result = {"token_ids": tokens, "logprobs": [round(p, 6) for p in logprobs], "greedy": [], "greedy_logprobs": [], "margins": []}
    sequence = list(tokens)
    for _ in range(GREEDY):
        best = torch.topk(log_probs(model, sequence)[-1], 2)
        result["greedy"].append(int(best.indices[0]))
        result["greedy_logprobs"].append(round(float(best.values[0]), 6))
        result["margins"].append(round(float(best.values[0] - best.values[1]), 6))
        sequence.append(result["greedy"][-1])
    return result, rows


def router_gap(model, sequences):
    """The smallest lead of a chosen expert's logit over one that was not chosen, in any layer at any position."""
    gaps = []

    def look(module, _, output):
        logits = torch.sort(output[0], dim=-1, descending=True).values
        gaps.append(float((logits[:, module.top_k - 1] - logits[:, module.top_k]).min()))

    hooks = [m.register_forward_hook(look) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    for tokens in sequences:
        log_probs(model, tokens)
    for hook in hooks:
        hook.remove()
    return min(gaps, default=None)


def seen(path, spec, feature, prompts):
    """The largest change of a log-prob when the feature is switched off."""
    folder.write(path, spec, feature)
    changed, worst = load(path), 0.0
    for prompt in prompts:
        now, _ = next_log_probs(changed, prompt["token_ids"])
        worst = max([worst, *[abs(a - b) for a, b in zip(now, prompt["logprobs"])]])
    return worst


def golden(spec, scratch):
    path = os.path.join(scratch, spec["name"])
    folder.write(path, spec)
    model, problems, rows = load(path), [], []
    prompts = []
    for tokens in prompts_of(spec):
        prompt, matrix = golden_of_prompt(model, tokens)
        prompts.append(prompt)
        rows.append(matrix)
    gap = router_gap(model, [p["token_ids"] + p["greedy"] for p in prompts])
    spread = max(float(m.std(dim=-1).mean()) for m in rows)
    model = model.double()
    with Fp64():
        difference = max(float((log_probs(model, p["token_ids"]) - m).abs().max()) for p, m in zip(prompts, rows))
    if difference > STABLE:
        problems.append(f"FP32 differs from FP64 by {difference:.2g}")
    if gap is not None and gap < ROUTER_GAP:
        problems.append(f"a router decides by {gap:.2g}")
    parts = []
    for i, feature in enumerate(spec["features"]):
        change = seen(os.path.join(scratch, f"{spec['name']}-{i}"), spec, feature, prompts)
        parts.append(f"{feature['name']} {change:.3f}")
        if change < SEEN:
            problems.append(f"without {feature['name']} no log-prob moves by more than {change:.4f}")
    print(f"{spec['name']}: spread {spread:.2f}, FP64 {difference:.1e}{'' if gap is None else f', router gap {gap:.1e}'}; off: {', '.join(parts)}")
    for problem in problems:
        print(f"  PROBLEM {problem}")
    return {"prompts": prompts, "fp64_difference": float(f"{difference:.2g}")}, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    result, problems = {}, []
    with tempfile.TemporaryDirectory(prefix="trireme-families-") as scratch:
        for spec in models.MODELS:
            if args.family in (None, spec["name"]):
                result[spec["name"]], found = golden(spec, scratch)
                problems += found
    if problems:
        return 1
    path = os.path.join(HERE, "goldens.json")
    if args.family:
        with open(path, encoding="utf-8") as file:
            result = {**json.load(file)["models"], **result}
    lines = [f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in result.items()]
    head = json.dumps({"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]})[:-1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(head + ', "models": {\n' + ",\n".join(lines) + "\n}}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Fits the constants of the planner's profile `published` to published measurements, and says how far it is off on those that it did not see.

    ninja -C build bench/plan_cases
    bench/fit_profile.py build/bench/plan_cases                   # the errors, each row predicted by constants fitted without its GPU type or its model;
                                                                  # those of models with experts, and those on later pages
    bench/fit_profile.py build/bench/plan_cases --write           # the same, and the constants of all rows into src/plan/profiles/published.json
    bench/fit_profile.py build/bench/plan_cases --rows            # every row beside its prediction

The formulas are the planner's own: build/bench/plan_cases computes every prediction. Needs numpy."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

import cases

PROFILE = os.path.join(cases.HERE, "..", "src", "plan", "profiles", "published.json")
DECODE, TTFT, THROUGHPUT = "decode_ms_per_token", "ttft_ms", "out_tokens_per_s"
LOW_LOAD = 4  # sequences in flight, at most
# First guesses, which the prior holds the constants near: GEMMs of one row reach 0.85 of H100's bandwidth and 0.75 of A100's, of 8 bits and of
# 4 less; prefill 0.5 to 0.7 of dense FLOP/s; tens of microseconds a layer and a running sequence (aiconfigurator's and vLLM's measurements); where
# activations are quantized, four kernels of 2 us more in a layer.
FIRST = {"weight_share": 0.85, "weight_share_8": 0.95, "weight_share_4": 0.9, "kv_share": 0.8, "flops_share": 0.7, "flops_share_8": 0.85, "overlap": 2,
         "layer_us": 35, "layer_8_us": 8, "step_us": 300, "sequence_us": 20, "reduce_factor": 1, "reduce_us": 1, "request_ms": 5,
         "interference": 1, "clump": 0.05}
# Fitted as a part of another share, and no more than that: fewer bits are no easier to stream or to multiply. FP8 was measured on newer GPUs alone,
# whose better memory would else look like a virtue of FP8.
PART_OF = {"weight_share_8": "weight_share", "weight_share_4": "weight_share_8", "flops_share_8": "flops_share"}
# Products of experts get few rows each: fitted to models with experts, with all other constants as they are. The first guess is of Triton's FP8 kernel on an
# H100, whose 4096 rows of Qwen3-30B-A3B take 736 us more than 2048 (vLLM, PR 24700): 210 TFLOP/s, a sixth of what dense products reach. What a layer of
# experts takes more than reading them, 25 us, is not fitted: one to four rows take 26 us more on an H100 in FP8 (the same PR), 27 us on a B200 in BF16 (PR
# 31448), without the product that chooses, and with launches that a dense MLP has, too.
EXPERTS_FIRST = {"expert_flops_part": 0.17}
# Not fitted: host_weight_share, of which no GPU says anything, and bubble: no row is of a pipeline with many sequences in flight. NVIDIA's 1.5x of PP 8
# over TP 8 (Llama 3.1 405B on 8 H200, a blog of 2024) stands between an even pipeline and one with that bubble. flops_share_4 neither: no row computes
# in FP4. It is of the B200's rows of TP 1 in later_cases.json, as is what a B200 reaches of its sheet beside an H200; what is reached of GDDR7's
# bandwidth is of its rows of the RTX PRO 6000 (topology/device_sheet.cpp).
PRIOR = 0.3   # a constant may leave its first guess by about this, in log space, before that costs as much as a residual of SPREAD
SPREAD = 0.1  # of measurements around a good model: residuals above it count less (Huber)


class Planner:
    def __init__(self, program, questions):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps(questions) + "\n")

    def predict(self, profile):
        self.process.stdin.write(json.dumps(profile) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def waits_for_slot(case):
    """TTFT that falls as concurrency rises: 550, 308 and 226 ms for 8, 16 and 32 in flight (TensorRT-LLM, 8B, TP 1). All twelve are output / concurrency
    * TPOT, the time until the next sequence ends, and 40 to 75 ms: that server had no more slots than clients, and a new request waited for one."""
    return case["metric"] == TTFT and case["id"].startswith("sil_8b_h100_trt")


def poor_kernels(case):
    """INT8 slower than FP16 in the same engine: the source itself says that its kernels are to blame."""
    return case["id"].startswith("bloom_ds_int8")


def other_kernels(case):
    """gpt-fast's INT4 products read at 0.45 of A100's bandwidth; those of vLLM and TensorRT-LLM are others."""
    return case["precision"].startswith("int4") and "gpt-fast" in case["source"]


def old_engine(case):
    """Of 2022, without graphs: not what vLLM and TensorRT-LLM reach. Predicted, not fitted."""
    return case["id"].startswith("bloom_")


def is_scored(case):
    return case["quality"] == "primary" and case["metric"] in (DECODE, TTFT, THROUGHPUT)


def is_fitted(case):
    gpu = cases.DEVICES[case["gpu"]] in ("a100-80gb", "h100", "h200", "b200")
    return is_scored(case) and gpu and not waits_for_slot(case) and not poor_kernels(case) and not other_kernels(case) and not old_engine(case)


class Fit:
    def __init__(self, planner, profile, rows, first=FIRST):
        self.planner, self.profile, self.rows = planner, profile, rows
        self.names = list(first)
        self.first = np.log(list(first.values()))
        self.most = np.log([1.0 if n in PART_OF or n in ("interference", "expert_flops_part") else 0.95 if "share" in n else 1e6 for n in self.names])  # physical
        self.measured = np.log([case["value"] for case, _ in rows])

    def profile_of(self, x):
        constants = dict(zip(self.names, map(float, np.exp(x))))
        for part, whole in PART_OF.items():  # in this order: a part may be another's whole
            if part in constants:
                constants[part] *= constants[whole]
        return {**self.profile, "constants": {**self.profile["constants"], **{n: float(f"{v:.5g}") for n, v in constants.items()}}}

    def predict(self, x):
        return [p["value"] for p in self.planner.predict(self.profile_of(x))]

    def with_wait(self, x):
        """TTFT of those that wait for a slot, by the planner's own decode: until the next sequence ends."""
        return [(p["value"] + q["output"] / q["batch"] * p["decode"], case["value"])
                for p, (case, q) in zip(self.planner.predict(self.profile_of(x)), self.rows) if waits_for_slot(case)]

    def residuals(self, x):
        return np.log(self.predict(x)) - self.measured

    def run(self, use, steps=12):
        """Levenberg-Marquardt on the log of prediction over measurement, with Huber weights and a prior."""
        x, damping = np.minimum(self.first, self.most), 1e-2

        def loss(r, x):
            a = np.abs(r[use > 0]) / SPREAD
            return np.sum(np.where(a < 1, a * a, 2 * a - 1)) + np.sum(((x - self.first) / PRIOR) ** 2)

        r = self.residuals(x)
        best = loss(r, x)
        for _ in range(steps):
            jacobian = np.empty((len(r), len(x)))
            for i in range(len(x)):
                moved = x.copy()
                moved[i] += 1e-2
                jacobian[:, i] = (self.residuals(moved) - r) / 1e-2
            weight = np.minimum(1, SPREAD / np.maximum(np.abs(r), 1e-12)) * use / SPREAD ** 2
            normal = (jacobian.T * weight) @ jacobian + np.eye(len(x)) / PRIOR ** 2
            gradient = (jacobian.T * weight) @ r + (x - self.first) / PRIOR ** 2
            gained = False
            for _ in range(6):
                candidate = x - np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
                candidate = np.minimum(candidate, self.most)
                new = self.residuals(candidate)
                if loss(new, candidate) < best * (1 - 1e-5):
                    x, r, best, damping, gained = candidate, new, loss(new, candidate), damping / 4, True
                    break
                damping *= 4
            if not gained:
                break
        return x


def error_line(name, errors):
    e = np.array(errors)
    return f"{name:44s} {len(e):4d} {np.median(e):8.1%} {np.percentile(e, 90):8.1%}" if len(e) else f"{name:44s}    0"


def orders(data, predicted, tie=0.05):
    """Pairs of each published order that stand right, and all: pairs closer than the tie band in either are ties."""
    right = total = 0
    wrong = []
    for order in data["orderings"]:
        ids = [i for i in order["best_to_worst"] if i in predicted]
        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                best, worst = predicted[ids[a]], predicted[ids[b]]
                gap = (best[0] - worst[0]) / worst[0] if order["better"] == "higher" else (worst[0] - best[0]) / best[0]
                true_gap = abs(best[1] - worst[1]) / min(best[1], worst[1])
                if true_gap < tie:
                    continue
                total += 1
                if gap > -tie:
                    right += 1
                else:
                    wrong.append(f"{ids[a]} before {ids[b]}")
    return right, total, wrong


def report(data, rows, predictions, all_key=None):
    print(f"{'':44s} rows   median      p90")
    summary = {}
    errors = {case["id"]: abs(p - case["value"]) / case["value"] for (case, _), p in zip(rows, predictions)}

    def line(name, keep, key=None):
        chosen = [errors[case["id"]] for case, q in rows if is_scored(case) and keep(case, q)]
        if not chosen:
            return
        print(error_line(name, chosen))
        if key:
            summary[key] = {"median": round(float(np.median(chosen)), 3), "p90": round(float(np.percentile(chosen, 90)), 3), "rows": len(chosen)}

    on_gpu = lambda q: not any(n in q["machine"] for n in ("xeon", "epyc", "ryzen", "c3d", "raspberry"))
    low = lambda c: isinstance(c["batch_or_concurrency"], int) and c["batch_or_concurrency"] <= LOW_LOAD
    line("decode, ms per token, GPUs", lambda c, q: c["metric"] == DECODE and on_gpu(q), "decode")
    line("  without INT8 kernels slower than FP16", lambda c, q: c["metric"] == DECODE and on_gpu(q) and not poor_kernels(c))
    line("  CPUs, small clusters", lambda c, q: c["metric"] == DECODE and not on_gpu(q), "decode_cpu")
    line(f"TTFT, at most {LOW_LOAD} sequences in flight, GPUs", lambda c, q: c["metric"] == TTFT and on_gpu(q) and low(c), "ttft")
    line("  more in flight", lambda c, q: c["metric"] == TTFT and on_gpu(q) and not low(c) and not waits_for_slot(c), "ttft_loaded")
    line("  of a server without a free slot (not fitted)", lambda c, q: waits_for_slot(c))
    line("throughput, tokens a second", lambda c, q: c["metric"] == THROUGHPUT, "throughput")
    if all_key:
        line("all of these", lambda c, q: True, all_key)
    for engine in ("vllm", "trt"):
        line(f"    decode of {engine}", lambda c, q: c["metric"] == DECODE and f"_{engine}_" in c["id"])
    for gpu in sorted({case["gpu"] for case, _ in rows}):
        line(f"    decode on {gpu}", lambda c, q: c["metric"] == DECODE and c["gpu"] == gpu)
        line(f"    throughput on {gpu}", lambda c, q: c["metric"] == THROUGHPUT and c["gpu"] == gpu)
    if "orderings" not in data:
        return summary
    by_id = {case["id"]: (p, case["value"]) for (case, _), p in zip(rows, predictions)}
    right, total, wrong = orders(data, by_id)
    print(f"orders of layouts right, tie band 5 %: {right} of {total} pairs ({right / total:.1%})")
    for text in wrong:
        print("  wrong:", text)
    summary["orders_right"] = round(right / total, 4)
    return summary


def fit_experts(program, profile):
    """The profile with its constant of experts, and how far it is off on each model when that is fitted to the others."""
    data, rows = cases.load("expert_cases.json")
    fit = Fit(Planner(program, [q for _, q in rows]), profile, rows, EXPERTS_FIRST)
    models = np.array([case["model"] for case, _ in rows])
    predictions = np.empty(len(rows))
    for model in sorted(set(models)):
        x = fit.run((models != model).astype(float))
        predictions[models == model] = np.array(fit.predict(x))[models == model]
        print(f"  without {model}: {np.exp(x)}")
    x = fit.run(np.ones(len(rows)))
    summary = report(data, rows, predictions, all_key="experts")
    return fit.profile_of(x), summary["experts"], list(zip(rows, predictions, fit.predict(x)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", action="store_true")
    args = parser.parse_args()
    data, rows = cases.load()
    with open(PROFILE, encoding="utf-8") as file:
        profile = json.load(file)
    planner = Planner(args.program, [q for _, q in rows])
    fit = Fit(planner, profile, rows)
    fitted = np.array([is_fitted(case) for case, _ in rows], dtype=float)
    everything = fit.run(fitted)
    predictions = np.full((len(rows), 2), np.nan)  # without its GPU type; without its model
    for column, field in enumerate(("gpu", "model")):
        values = np.array([case[field] for case, _ in rows])
        if field == "model":  # one architecture, several names
            values = np.array([q.get("shape", c["model"]).replace("llama-2-70b", "70b").replace("llama-3.1-70b", "70b") for c, q in rows])
        for value in sorted(set(values)):
            held = values == value
            x = fit.run(fitted * ~held) if np.any(held & (fitted > 0)) else everything
            predictions[held, column] = np.array(fit.predict(x))[held]
            print(f"  without {value}:", fit.profile_of(x)["constants"] if args.rows else "", file=sys.stderr)
    measured = np.array([case["value"] for case, _ in rows])
    worst = np.where(np.abs(np.log(predictions[:, 0] / measured)) > np.abs(np.log(predictions[:, 1] / measured)), predictions[:, 0], predictions[:, 1])
    for name, chosen in (("GPU type left out", predictions[:, 0]), ("model left out", predictions[:, 1]), ("the worse of both", worst)):
        print(f"\n== {name}")
        summary = report(data, rows, chosen)
    print("\n== all rows fitted (in sample)")
    in_sample = fit.predict(everything)
    report(data, rows, in_sample)
    print(error_line("  and the time until the next sequence ends", [abs(p - m) / m for p, m in fit.with_wait(everything)]))
    print(fit.profile_of(everything)["constants"])
    print("\n== models with experts, each left out")
    final, expert_summary, expert_rows = fit_experts(args.program, fit.profile_of(everything))
    summary["experts"] = expert_summary
    print({name: final["constants"][name] for name in EXPERTS_FIRST})
    print("\n== later pages (all rows fitted)")
    later, later_rows = cases.load("later_cases.json")
    answers = Planner(args.program, [q for _, q in later_rows]).predict(fit.profile_of(everything))
    later_values = [answer["value"] for answer in answers]
    report(later, later_rows, later_values)
    if args.rows:
        for (case, _), left_out, own in zip(rows, worst, in_sample):
            print(f"{case['id']:46s} {case['value']:10.2f} {left_out / case['value']:6.2f} {own / case['value']:6.2f}")
        for (case, _), own in zip(later_rows, later_values):
            print(f"{case['id']:70s} {case['value']:10.2f} {own / case['value']:6.2f}")
        for (case, _), left_out, own in expert_rows:
            print(f"{case['id']:70s} {case['value']:10.2f} {left_out / case['value']:6.2f} {own / case['value']:6.2f}")
    if args.write:
        profile["constants"] = final["constants"]
        profile["errors"] = summary
        with open(PROFILE, "w", encoding="utf-8") as file:
            file.write(json.dumps(profile, indent=2) + "\n")


if __name__ == "__main__":
    main()

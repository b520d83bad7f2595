"""Published measurements as questions for the planner: the files of bench/data, their GPUs and models in the planner's words."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))

DEVICES = {"A100-80GB": "a100-80gb", "H100": "h100", "H200": "h200", "B200": "b200", "GB200": "gb200", "L40S": "l40s",
           "RTX 4090": "rtx-4090", "RTX PRO 6000": "rtx-pro-6000-server", "Xeon 6980P (CPU)": "xeon-6980p", "2S Xeon 6980P (CPU)": "xeon-6980p",
           "Ryzen 7950X (CPU)": "ryzen-7950x", "GCP c3d-highcpu-30 (Zen4 x86)": "c3d-30",
           "Raspberry Pi 5 8GB (GbE)": "raspberry-pi-5", "Raspberry Pi 4B 8GB (GbE)": "raspberry-pi-4"}
SHAPES = {"Llama-2-7B": "llama-2-7b", "Llama-2-13B": "llama-2-13b", "Llama-2-70B": "llama-2-70b", "Llama-3-8B": "llama-3.1-8b",
          "Llama-3.1-8B": "llama-3.1-8b", "Llama-3.1-70B": "llama-3.1-70b", "Llama-3.3-70B": "llama-3.1-70b",
          "DeepSeek-R1-Distill-Llama-70B": "llama-3.1-70b", "Llama-3.1-405B": "llama-3.1-405b", "Llama-3.2-3B": "llama-3.2-3b",
          "Mistral-7B": "mistral-7b", "Qwen3-32B": "qwen3-32b", "GPT-530B(Megatron)": "gpt-530b"}


def block(layers, hidden, heads, kv_heads, intermediate, vocab, tied=True):
    """A model of other blocks as one of this program's: an MLP of two matrices of 4 * hidden columns becomes one of three."""
    return {"model_type": "llama", "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": vocab,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied}


def gpt_oss(layers, experts):
    return {"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": layers, "num_attention_heads": 64,
            "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": experts, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
            "max_position_embeddings": 131072}


QWEN3_30B_A3B = {"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48,
                 "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
                 "vocab_size": 151936, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6}

CONFIGS = {"GPT-20B(FT)": block(44, 6144, 48, 48, 16384, 51200), "GPT-175B": block(96, 12288, 96, 96, 32768, 51200),
           "BLOOM-176B": block(70, 14336, 112, 112, 38240, 250880), "InternLM-20B": block(60, 5120, 40, 40, 13824, 103168, False),
           "LLaMA-33B": block(60, 6656, 52, 52, 17920, 32000, False), "Falcon-180B": block(80, 14848, 232, 8, 39616, 65024),
           "Qwen-72B": block(80, 8192, 64, 64, 24576, 152064, False),
           "Qwen3-30B-A3B": QWEN3_30B_A3B, "gpt-oss-20b": gpt_oss(24, 32), "gpt-oss-120b": gpt_oss(36, 128)}
PRECISIONS = {"fp16": "bf16", "bf16": "bf16", "bf16 (unstated in row)": "bf16", "fp8": "fp8", "fp4": "fp4", "nvfp4": "fp4", "int8": "int8",
              "int4": "int4", "int4-g32": "int4", "q40 weights / q80 activations": "int4", "q8_0": "int8", "q4_0": "int4", "unstated": "bf16"}
METRICS = ("decode_ms_per_token", "ttft_ms", "out_tokens_per_s", "e2e_latency_ms")
UNBOUNDED = 1e6


def question(case):
    """The case as bench/plan_cases takes it, or None where it lacks something or is no such measurement."""
    if case["metric"] not in METRICS or case["quality"] not in ("primary", "secondary"):
        return None
    model = {"shape": SHAPES[case["model"]]} if case["model"] in SHAPES else {"config": CONFIGS[case["model"]]} if case["model"] in CONFIGS else None
    if model is None or case["gpu"] not in DEVICES or case["precision"] not in PRECISIONS:
        return None
    load, cpu = case["batch_or_concurrency"], "xeon" in DEVICES[case["gpu"]]
    if load == "Offline":  # its prompts' lengths are not published with it
        return None
    hosts = case["nodes"] or 1
    eight = load == "max load" and case["precision"] in ("fp8", "fp4") and case.get("kv") != "bf16"  # keys and values
    machine = f"{hosts} hosts x {case['n_gpus'] // hosts} {DEVICES[case['gpu']]}"
    return {**model, "metric": case["metric"], "precision": PRECISIONS[case["precision"]], "machine": machine,
            "tp": case["tp"] or (case["n_gpus"] if cpu else 1), "pp": case["pp"] or 1, "dp": case["dp"] or 1,
            "batch": UNBOUNDED if load == "max load" else load, "kv_bytes": 1 if eight else 2, "input": max(case["isl"] or 16, 1), "output": max(case["osl"] or 64, 1)}


def load(name="published_cases.json"):
    with open(os.path.join(HERE, "data", name), encoding="utf-8") as file:
        data = json.load(file)
    asked = [(case, question(case)) for case in data["cases"]]
    return data, [(case, q) for case, q in asked if q]

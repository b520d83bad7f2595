"""Writes a tiny model of models.py as a GGUF file, by the names and conventions of llama.cpp's conversion: rotary rows of q and k
interleaved in some architectures, Gemma's norms with their 1, experts stacked, vectors in F32, scaled frequencies as tensors.
Standard library only. For the models of which GGUF can say everything (can_write)."""

import math
import struct

import folder

F32, F16, BF16 = 0, 1, 30
TYPES = {"F32": F32, "F16": F16, "BF16": BF16}
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe",
                 "gemma2": "gemma2", "gemma3_text": "gemma3", "phi3": "phi3", "granite": "granite", "olmo2": "olmo2", "smollm3": "smollm3"}
INTERLEAVED = ("llama", "mistral", "mixtral", "granite", "smollm3")
LAYER_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
               "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm",
               "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
               "mlp.gate_up_proj": "ffn_up", "mlp.gate": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp"}
EXPERT_NAMES = {"w1": "ffn_gate_exps", "w3": "ffn_up_exps", "w2": "ffn_down_exps", "gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps",
                "down_proj": "ffn_down_exps"}


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def rope_of(config):
    """(theta, scaling or {}) of the layers that see everything."""
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    scaling = {**(config.get("rope_scaling") or {}), **rope}
    return rope.get("rope_theta", config.get("rope_theta", 10000.0)), scaling


def can_write(model):
    config = model["config"]
    kind, scaling = config["model_type"], rope_of(config)[1]
    scaled = scaling.get("rope_type", scaling.get("type", "default"))
    by_name = {"gemma2": lambda: config["query_pre_attn_scalar"] == head_dim(config),
               "gemma3_text": lambda: config["query_pre_attn_scalar"] == head_dim(config),
               "smollm3": lambda: config.get("no_rope_layer_interval") == 4 and not config.get("no_rope_layers"),
               "qwen2": lambda: not config.get("use_sliding_window"), "qwen3": lambda: not config.get("use_sliding_window"),
               "mixtral": lambda: not config.get("sliding_window"), "qwen3_moe": lambda: config["norm_topk_prob"]}
    return scaled in ("default", "linear", "llama3", "longrope") and by_name.get(kind, lambda: True)()


def llama3_divisors(config, theta, scaling):
    """What each frequency is divided by: transformers' formula for Llama 3.1."""
    width, original = head_dim(config), scaling["original_max_position_embeddings"]
    low, high, factor = (scaling[k] for k in ("low_freq_factor", "high_freq_factor", "factor"))
    result = []
    for i in range(width // 2):
        wave = 2 * math.pi * theta ** (2 * i / width)
        smooth = (original / wave - low) / (high - low)
        result.append(1.0 if wave < original / high else factor if wave > original / low else 1 / ((1 - smooth) / factor + smooth))
    return result


def floats_of(dtype, data):
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{len(data) // folder.ITEM_BYTES[dtype]}{'f' if dtype == 'F32' else 'e'}", data))


def interleave(data, rows, heads):
    """Rows i and i + half of each head become rows 2 i and 2 i + 1."""
    row, width = len(data) // rows, rows // heads
    order = [head * width + i % 2 * (width // 2) + i // 2 for head in range(heads) for i in range(width)]
    return b"".join(data[r * row:(r + 1) * row] for r in order)


def gguf_name(name):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    part, suffix = rest.rsplit(".", 1)
    return layer, part, suffix


def layer_name(kind, part):
    if part == "post_attention_layernorm":
        return "post_attention_norm" if kind in ("gemma2", "gemma3_text", "olmo2") else "ffn_norm"
    return {"pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}.get(part) or LAYER_NAMES[part]


def tensors(model):
    """[(name, dimensions from the fastest, type, bytes)]"""
    config, result, experts = model["config"], [], {}
    kind = config["model_type"]
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, (dtype, shape, data) in folder.encoded_tensors(model, {}).items():
        if len(shape) == 1 or name.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight")):
            one = 1.0 if kind in folder.ONE_PLUS_NORMS and "norm" in name else 0.0
            dtype, data = "F32", struct.pack(f"<{math.prod(shape)}f", *[v + one for v in floats_of(dtype, data)])
        new = gguf_name(name)
        if isinstance(new, tuple):
            layer, part, suffix = new
            if kind in INTERLEAVED and part.split(".")[-1] in heads:
                data = interleave(data, shape[0], heads[part.split(".")[-1]])
            if ".experts." in part:
                experts.setdefault(f"blk.{layer}.{EXPERT_NAMES[part.rsplit('.', 1)[1]]}.weight", []).append((dtype, shape, data))
                continue
            new = f"blk.{layer}.{layer_name(kind, part)}.{suffix}"
        result.append((new, tuple(reversed(shape)), TYPES[dtype], data))
    for name, parts in experts.items():
        dtype, shape, _ = parts[0]
        result.append((name, (*reversed(shape), len(parts)), TYPES[dtype], b"".join(data for _, _, data in parts)))
    theta, scaling = rope_of(config)
    if scaling.get("rope_type") == "llama3":
        divisors = llama3_divisors(config, theta, scaling)
        result.append(("rope_freqs.weight", (len(divisors),), F32, struct.pack(f"<{len(divisors)}f", *divisors)))
    for name, field in (("rope_factors_long.weight", "long_factor"), ("rope_factors_short.weight", "short_factor")):
        if field in scaling:
            result.append((name, (len(scaling[field]),), F32, struct.pack(f"<{len(scaling[field])}f", *scaling[field])))
    return result


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value_bytes(value):
    """(type, bytes) of a metadata value: bool, int (u32), float (f32), str, and lists of one of these."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    items = [value_bytes(v) for v in value]
    return 9, struct.pack("<IQ", items[0][0] if items else 8, len(items)) + b"".join(data for _, data in items)


def metadata(model):
    config = model["config"]
    kind, arch = config["model_type"], ARCHITECTURES[config["model_type"]]
    theta, scaling = rope_of(config)
    width = head_dim(config)
    rotary = int(width * (config.get("partial_rotary_factor") or scaling.get("partial_rotary_factor") or 1))
    keys = {"context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"], "block_count": config["num_hidden_layers"],
            "feed_forward_length": config["intermediate_size"], "attention.head_count": config["num_attention_heads"],
            "attention.head_count_kv": config["num_key_value_heads"], "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
            "attention.key_length": width, "attention.value_length": width, "rope.freq_base": float(theta), "rope.dimension_count": rotary}
    if scaling.get("rope_type", scaling.get("type")) == "linear":
        keys.update({"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling["factor"])})
    if "long_factor" in scaling:
        original = config["original_max_position_embeddings"]
        ratio = config["max_position_embeddings"] / original
        keys.update({"rope.scaling.original_context_length": original,
                     "rope.scaling.attn_factor": math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0})
    if config.get("sliding_window") and kind in ("mistral", "gemma2", "gemma3_text", "phi3"):
        keys["attention.sliding_window"] = config["sliding_window"]
    if kind == "gemma3_text":
        types = config.get("layer_types")
        keys["attention.sliding_window_pattern"] = ([t == "sliding_attention" for t in types] if types else config["sliding_window_pattern"])
        local = config.get("rope_local_base_freq") or config["rope_parameters"]["sliding_attention"]["rope_theta"]
        keys["rope.freq_base_swa"] = float(local)
    if kind == "gemma2":
        keys.update({k: float(config[k]) for k in ("attn_logit_softcapping", "final_logit_softcapping")})
    if kind == "granite":
        keys.update({"attention.scale": float(config["attention_multiplier"]), "embedding_scale": float(config["embedding_multiplier"]),
                     "residual_scale": float(config["residual_multiplier"]), "logit_scale": float(config["logits_scaling"])})
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        keys.update({"expert_count": experts, "expert_used_count": config["num_experts_per_tok"]})
    if kind == "qwen3_moe":
        keys["expert_feed_forward_length"] = config["moe_intermediate_size"]
    characters = folder.byte_characters()
    padding = [f"[PAD{i}]" for i in range(258, config["vocab_size"])]
    tokenizer = {"model": "gpt2", "pre": "gpt-2", "tokens": [*[characters[b] for b in range(256)], "<s>", "</s>", *padding],
                 "token_type": [1] * 256 + [3, 3] + [5] * len(padding), "merges": [],
                 "bos_token_id": 256, "eos_token_id": 257, "add_bos_token": False}
    return {"general.architecture": arch, **{f"{arch}.{k}": v for k, v in keys.items()},
            **{f"tokenizer.ggml.{k}": v for k, v in tokenizer.items()}}


def write(path, model):
    keys, entries = metadata(model), tensors(model)
    body, infos = bytearray(), bytearray()
    for name, dimensions, kind, data in entries:
        infos += text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, len(body))
        body += data + b"\0" * (-len(data) % 32)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(entries), len(keys))
    for key, value in keys.items():
        kind, data = value_bytes(value)
        head += text(key) + struct.pack("<I", kind) + data
    head += bytes(infos)
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + bytes(body))

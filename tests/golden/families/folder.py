"""Writes a tiny model as a Hugging Face folder: random weights that depend on nothing but the names of model and tensor.

The values keep a model lively: attention is far from uniform, logits spread by 2 to 4, and no bias or norm is at its default,
so that a feature done wrongly shows. Standard library only."""

import fnmatch
import hashlib
import json
import math
import os
import struct
from array import array

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
ONE_PLUS_NORMS = ("gemma2", "gemma3_text")  # their norms multiply by 1 + weight


def uniform(key, count, std):
    """count values of a uniform distribution around 0 with that standard deviation; the stream is SHAKE-256 of the key."""
    stream = array("H")
    stream.frombytes(hashlib.shake_256(key.encode()).digest(2 * count))
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        stream.byteswap()
    step = std * math.sqrt(3) / 32767.5
    return [(k - 32767.5) * step for k in stream]


def encode(values, dtype):
    """The values rounded to dtype (nearest even), little-endian."""
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    floats = struct.pack(f"<{len(values)}f", *values)
    if dtype == "F32":
        return floats
    bits = struct.unpack(f"<{len(values)}I", floats)
    return struct.pack(f"<{len(values)}H", *[(b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits])


def attention_tensors(config, prefix, bias, out_bias):
    hidden, heads, kv = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or hidden // heads
    kind, query, key = config["model_type"], heads * width, kv * width
    if kind == "phi3":
        yield f"{prefix}qkv_proj.weight", (query + 2 * key, hidden), 1.5
    else:
        for name, rows, gain in (("q", query, 1.6), ("k", key, 1.6), ("v", key, 1.2)):
            yield f"{prefix}{name}_proj.weight", (rows, hidden), gain
            if bias:
                yield f"{prefix}{name}_proj.bias", (rows,), "bias"
    yield f"{prefix}o_proj.weight", (hidden, query), 1.2
    if out_bias:
        yield f"{prefix}o_proj.bias", (hidden,), "bias"
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield f"{prefix}q_norm.weight", (width,), "norm"
        yield f"{prefix}k_norm.weight", (width,), "norm"
    if kind == "olmo2":
        yield f"{prefix}q_norm.weight", (query,), "norm"
        yield f"{prefix}k_norm.weight", (key,), "norm"


def gated_mlp(prefix, names, hidden, columns, bias=False):
    gate, up, down = names
    for name, shape, gain in ((gate, (columns, hidden), 1.4), (up, (columns, hidden), 1.2), (down, (hidden, columns), 1.6)):
        yield f"{prefix}{name}.weight", shape, gain
        if bias:
            yield f"{prefix}{name}.bias", (shape[0],), "bias"


def mlp_tensors(config, prefix):
    hidden, columns, kind = config["hidden_size"], config["intermediate_size"], config["model_type"]
    llama_names = ("gate_proj", "up_proj", "down_proj")
    if kind == "phi3":
        yield f"{prefix}mlp.gate_up_proj.weight", (2 * columns, hidden), 1.3
        yield f"{prefix}mlp.down_proj.weight", (hidden, columns), 1.6
    elif kind == "mixtral":
        yield f"{prefix}block_sparse_moe.gate.weight", (config["num_local_experts"], hidden), 1.5
        for e in range(config["num_local_experts"]):
            yield from gated_mlp(f"{prefix}block_sparse_moe.experts.{e}.", ("w1", "w3", "w2"), hidden, columns)
    elif kind == "qwen3_moe":
        yield f"{prefix}mlp.gate.weight", (config["num_experts"], hidden), 1.5
        for e in range(config["num_experts"]):
            yield from gated_mlp(f"{prefix}mlp.experts.{e}.", llama_names, hidden, config["moe_intermediate_size"])
    else:
        yield from gated_mlp(f"{prefix}mlp.", llama_names, hidden, columns, config.get("mlp_bias", False))


def layer_norms(kind):
    if kind == "olmo2":
        return ("post_attention_layernorm", "post_feedforward_layernorm")
    if kind in ONE_PLUS_NORMS:
        return ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return ("input_layernorm", "post_attention_layernorm")


def tensors(config):
    """(name, shape, kind) of every tensor; kind is "embedding", "norm", "bias", or the gain of a matrix: the standard
    deviation of its products with a row of unit RMS."""
    kind, hidden = config["model_type"], config["hidden_size"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden), "embedding"
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in layer_norms(kind):
            yield f"{prefix}{norm}.weight", (hidden,), "norm"
        bias = config.get("attention_bias", False)
        yield from attention_tensors(config, prefix + "self_attn.", bias or kind == "qwen2", bias)
        yield from mlp_tensors(config, prefix)
    yield "model.norm.weight", (hidden,), "norm"
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden), 2.5


def neutral_value(config, kind):
    return 0.0 if kind == "bias" or config["model_type"] in ONE_PLUS_NORMS else 1.0


def values(model, name, shape, kind, neutral):
    config, count = model["config"], math.prod(shape)
    if neutral:
        return [neutral_value(config, kind)] * count
    key = f"trireme families/{model['name']}/{name}"
    if kind == "bias":
        return uniform(key, count, 0.5)
    if kind == "norm":
        return [neutral_value(config, kind) + v for v in uniform(key, count, 0.35)]
    if kind == "embedding":
        return uniform(key, count, 2.5 / math.sqrt(shape[1]) if config["tie_word_embeddings"] else 1.0)
    return uniform(key, count, kind / math.sqrt(shape[-1]))


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def encoded_tensors(model, feature):
    """{name: (dtype, shape, bytes)}, without what the feature drops and with what it makes neutral."""
    result = {}
    for name, shape, kind in tensors(model["config"]):
        if matches(name, feature.get("drop", ())):
            continue
        dtype = model["vector_dtype"] if len(shape) == 1 else next(
            (d for pattern, d in model["other_dtypes"].items() if fnmatch.fnmatchcase(name, pattern)), model["dtype"])
        result[name] = (dtype, shape, encode(values(model, name, shape, kind, matches(name, feature.get("neutral", ()))), dtype))
    return result


def write_safetensors(path, entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in entries:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    # As in real files the header need not be in the order of the data.
    text = json.dumps(dict(sorted(header.items())), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (_, _, data) in entries:
            file.write(data)


def write_weights(folder, model, feature):
    entries = list(encoded_tensors(model, feature).items())
    if model["shuffled"]:
        entries.sort(key=lambda entry: hashlib.sha256(entry[0].encode()).digest())
    # The wider type first: every tensor of a safetensors file then stands at a multiple of its item size.
    shards = model["shards"]
    groups = [sorted(entries[i::shards], key=lambda entry: -ITEM_BYTES[entry[1][0]]) for i in range(shards)]
    if shards == 1:
        write_safetensors(os.path.join(folder, "model.safetensors"), groups[0])
        return
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    for name, group in zip(names, groups):
        write_safetensors(os.path.join(folder, name), group)
    index = {"metadata": {"total_size": sum(len(data) for _, (_, _, data) in entries)},
             "weight_map": {tensor: name for name, group in zip(names, groups) for tensor, _ in sorted(group)}}
    write_json(folder, "model.safetensors.index.json", index)


def byte_characters():
    """The printable characters by which byte-level BPE writes the 256 bytes, as GPT-2 chose them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def tokenizer():
    """256 bytes, then <s> and </s>: 258 tokens, fewer than any vocabulary here."""
    characters = byte_characters()
    special = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, text in enumerate(("<s>", "</s>"))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None, "pre_tokenizer": level,
            "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {**{characters[b]: b for b in range(256)}, "<s>": 256, "</s>": 257}, "merges": []}}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write(folder, model, feature=None):
    """Writes the folder; with a feature, the one in which it is switched off."""
    feature = feature or {}
    os.makedirs(folder, exist_ok=True)
    config = {key: value for key, value in model["config"].items() if key not in feature.get("remove", ())}
    write_json(folder, "config.json", {**config, **feature.get("config", {})})
    write_json(folder, "tokenizer.json", tokenizer())
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                                                 "model_max_length": model["config"]["max_position_embeddings"]})
    write_json(folder, "generation_config.json", {"bos_token_id": 256, "eos_token_id": 257})
    write_weights(folder, model, feature)

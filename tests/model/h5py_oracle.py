#!/usr/bin/env python3
"""h5py_oracle.py SRC.gguf FILE.h5: reads the checkpoint as any researcher would, with h5py and numpy, and compares
every value with the `gguf` package's own dequantization of the source. Exit 77: a package is missing."""
import json
import re
import sys

try:
    import gguf
    import h5py
    import numpy as np
except ImportError as error:
    print(error)
    sys.exit(77)

GROUPS = {"token_embd": "embedding", "output_norm": "final_norm", "output": "head", "attn_norm": "attention_norm",
          "ffn_norm": "mlp_norm", "attn_q": "attention/q", "attn_k": "attention/k", "attn_v": "attention/v",
          "attn_output": "attention/o", "ffn_gate": "mlp/gate", "ffn_up": "mlp/up", "ffn_down": "mlp/down"}


def expected(tensor, config):
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    values = values.reshape(-1, values.shape[-1])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(tensor.name.split(".")[-2])
    if heads is None:
        return values
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, -1)  # interleaved, as llama.cpp rotates
    return pairs.swapaxes(1, 2).reshape(values.shape)


def stored(group):
    about = group.attrs
    if "bits" in about:
        codes = group["codes"][()]
        if about["bits"] == 4:  # the even column in the low nibble
            codes = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)
        scales = np.repeat(group["scales"][()].astype(np.float32), about["group"], -1)
        if "minimums" in group:
            units = codes.astype(np.float32) * scales + np.repeat(group["minimums"][()].astype(np.float32), about["group"], -1)
        else:
            units = (codes.astype(np.float32) - about["zero"]) * scales
    else:
        units = group["values"][()]
        if about["dtype"] == b"bf16":
            units = (units.astype(np.uint32) << 16).view(np.float32)
        units = units.astype(np.float32)
    if about["axis"] == b"columns":
        return units.swapaxes(0, 1).reshape(units.shape[1], -1)[:, : about["columns"]]
    return units.reshape(-1, units.shape[-1])[: about["rows"]]


source, file = gguf.GGUFReader(sys.argv[1]), h5py.File(sys.argv[2], "r")
config = json.loads(file["config.json"][()])
json.loads(file["tokenizer.json"][()])
assert file.attrs["schema_version"] == 1
for tensor in source.tensors:
    place = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", tensor.name)
    name = (f"layers/{place[1]}/" if place[1] else "") + GROUPS[place[2]]
    if not np.array_equal(expected(tensor, config), stored(file[name])):
        sys.exit(f"{name} differs from {tensor.name}")
print(f"{len(source.tensors)} tensors equal")

#!/usr/bin/env python3
"""make_block_golden.py > block_golden.txt: random blocks of every quantized type that we read, and what the `gguf`
package (0.19) dequantizes them to. A line: type, the block in hex, its FP32 values in hex. Scales cover the whole of
FP16: normal, subnormal, zeros of both signs, infinity, NaN. Of Q8_K, which the package cannot dequantize, the values are
by ggml's definition: scale * code, one FP32 product.

make_block_golden.py check LIBGGML TYPE...: the same package against ggml itself (a libggml-base.so), on a million
random blocks of each type."""
import ctypes
import sys

import gguf
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ4_XS"]
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [], "IQ4_XS": [0]}  # bytes at which FP16 scales stand
HALVES = [0x2e66, 0xa5c1, 0x0001, 0x83ff, 0x0000, 0x8000, 0x7bff, 0x7c00, 0xfe01]  # one block with each as its scale


def dequantize(blocks, kind):
    with np.errstate(all="ignore"):
        if kind.name == "Q8_K":
            return blocks[:, :4].copy().view(np.float32) * blocks[:, 4:260].view(np.int8).astype(np.float32)
        return gguf.dequantize(blocks, kind)


def golden():
    random = np.random.default_rng(4)
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        blocks = random.integers(0, 256, (len(HALVES), gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
        for i, half in enumerate(HALVES):
            for place in SCALES[name][:1] if i % 2 else SCALES[name]:  # of two scales sometimes only the first
                blocks[i, place : place + 2] = [half & 255, half >> 8]
        if name == "Q8_K":
            blocks[:4, :4] = np.array([0.01, -3e-39, np.inf, np.nan], np.float32).reshape(4, 1).view(np.uint8)
        for block, values in zip(blocks, dequantize(blocks, kind).astype("<f4")):
            print(name, block.tobytes().hex(), values.tobytes().hex())


def check(library, names):
    ggml = ctypes.CDLL(library)
    for name in names:
        kind = gguf.GGMLQuantizationType[name]
        columns, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = np.random.default_rng(5).integers(0, 256, (1000000 * 32 // columns, size), dtype=np.uint8)
        values = np.empty(len(blocks) * columns, np.float32)
        function = getattr(ggml, "dequantize_row_" + name.replace("Q8_K", "q8_K").lower().replace("_k", "_K"))
        function(blocks.ctypes.data_as(ctypes.c_void_p), values.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(values)))
        expected = dequantize(blocks, kind).reshape(-1)
        same = (expected.view(np.uint32) == values.view(np.uint32)) | (np.isnan(expected) & np.isnan(values))
        print(f"{name}: {len(blocks)} blocks, {len(values)} values, {np.count_nonzero(~same)} differ")


if __name__ == "__main__":
    check(sys.argv[2], sys.argv[3:] or TYPES) if sys.argv[1:2] == ["check"] else golden()

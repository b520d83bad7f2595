"""Writes json_golden.txt: what Python's json (strings, doubles) and a search (floats) say. Run it to renew:
python3 tests/job/make_json_golden.py > tests/job/json_golden.txt"""
import json
import random
import struct

random.seed(3)
texts = [chr(c) for c in range(0x80)] + ["", "\u0080", "\u00e9", "\u2028", "\u2029", "\ufeff", "\uffff", "\U0001f600",
         "a\"b\\c/d", "tab\tnewline\n", "</script>", "\u007f", "e\u0301", "\U0010ffff"]
texts += ["".join(chr(random.choice([random.randrange(0x20, 0xd800), random.randrange(0x20), random.randrange(0x10000, 0x110000)]))
                  for _ in range(20)) for _ in range(30)]
for text in texts:
    print("string", text.encode().hex() or "-", json.dumps(text, ensure_ascii=False))
doubles = [0x0000000000000001, 0x7fefffffffffffff, 0x3fb999999999999a, 0x4340000000000000, 0x3ff0000000000000]
for bits in doubles + [random.getrandbits(63) for _ in range(100)]:
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    if value == value and abs(value) != float("inf"):
        print("double", f"{bits:016x}", json.dumps(value))


def shortest(value):  # of the decimals that read back as this 32-bit float
    for digits in range(1, 10):
        text = f"{value:.{digits - 1}e}"
        try:
            if struct.pack("<f", float(text)) == struct.pack("<f", value):
                return text
        except OverflowError:  # rounded up past the largest float
            pass


for bits in [1, 0x7f7fffff, 0x3dcccccd, 0xbdcccccd, 0x00800000] + [random.getrandbits(31) for _ in range(150)]:
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    if value == value and abs(value) != float("inf"):
        print("float", f"{bits:08x}", shortest(value))

#!/usr/bin/env python3
"""Malformed rows through the real program: each is one error row with its line and byte, and all others complete as if it
were not there. The rows stand in tests/job/malformed_rows.txt; what depends on the model, and damage to whole files, below.

    tests/inputs/rows.py build/trireme"""
import gzip
import json
import os
import re
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import ROOT, Checks, Tiny

MEMORY = 100 << 20  # bytes that all the malformed rows may cost at most (their own are 2 MB)

# What only the model can tell: (what, code, words, row). The tiny model has 259 tokens and a context of 256.
MODEL_ROWS = [
    ("no token", "empty_prompt", "no tokens", b'{"token_ids":[]}'),
    ("a token id just outside the vocabulary", "bad_token", "token id 259 at position 1", b'{"token_ids":[1,259]}'),
    ("a prompt longer than the context", "too_long", "the model's context 256", b'{"prompt":"' + b"x y " * 300 + b'"}'),
    ("the same by a batch request", "too_long", "context 256",
     b'{"custom_id":"l","method":"POST","url":"/v1/completions","body":{"prompt":"' + b"x y " * 300 + b'"}}'),
]


def expand(text):
    out, at = b"", 0
    for match in re.finditer(r"<<(.*?)>>", text):
        inside = match.group(1)
        out += text[at:match.start()].encode()
        if "*" in inside:
            what, times = inside.rsplit("*", 1)
            out += what.encode() * int(times)
        else:
            out += bytes([int(inside, 16)])
        at = match.end()
    return out + text[at:].encode()


def malformed_rows():
    with open(os.path.join(ROOT, "tests", "job", "malformed_rows.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                what, code, says, row = line.rstrip("\n").split(" | ", 3)
                yield what, code, says.strip(), expand(row)


def good_rows(count):
    for i in range(count):
        kind = i % 4
        if kind == 0:
            yield b'{"id":"g%d","prompt":"row %d","max_tokens":2}' % (i, i)
        elif kind == 1:
            yield b'{"id":"g%d","text":"document %d","max_tokens":1,"temperature":0.7,"seed":%d}' % (i, i, i)
        elif kind == 2:
            yield b'{"id":%d,"token_ids":[%d,7],"max_tokens":2,"mine":[1, 2]}' % (100000 + i, i % 259)
        else:
            yield (b'{"custom_id":"g%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","max_tokens":2,'
                   b'"messages":[{"role":"user","content":"row %d"}]}}' % (i, i))


def without_ids(line):
    """Of a batch result: its ids are made of the row's number too, which differs between the two inputs."""
    return re.sub(rb'"(batch_req_|req_|chatcmpl-)[0-9a-f]{16}"', b'"\\1"', line)


def error_of(line):
    row = json.loads(line)
    return row["error"] if "id" in row and "response" not in row else row["response"]["body"]["error"]


def check_rows(checks, tiny, model):
    bad = [*malformed_rows(), *MODEL_ROWS]
    good = list(good_rows(len(bad) + 1))
    lines, starts, byte = [], [], 0
    for i, row in enumerate(good):
        pair = [row, bad[i][3]] if i < len(bad) else [row]
        for line in pair:
            lines.append(line)
            starts.append(byte)
            byte += len(line) + 1
    alone, expected = tiny.corpus("good", b"\n".join(good) + b"\n", model)
    checks.equal("good rows alone: exit code", alone.returncode, 0)
    clean_bytes = tiny.peak_bytes("good")
    mixed = b"\n".join(lines) + b"\n"
    done, seen = tiny.corpus("mixed", mixed, model)
    checks.equal("good and bad rows: exit code", done.returncode, 76)
    if not checks.check("good and bad rows: there is an output", seen is not None, done.stderr):
        return
    out = seen.split(b"\n")
    checks.equal("one line a row", len(out) - 1, len(lines))
    expected = expected.split(b"\n")
    for i in range(len(good)):
        checks.equal(f"good row {i} is the same beside bad ones", without_ids(out[2 * i]), without_ids(expected[i]))
    for i, (what, code, says, row) in enumerate(bad):
        error = error_of(out[2 * i + 1])
        start = starts[2 * i + 1]
        right = (error["code"] == code and says in error["message"] and error["line"] == 2 * i + 2
                 and start <= error["byte"] <= start + len(row))
        checks.check(f"malformed row: {what}", right, f"{error}; the row starts at byte {start}")
    growth = tiny.peak_bytes("mixed") - clean_bytes
    checks.check("memory that the bad rows cost", growth < MEMORY, f"{growth >> 20} MiB")

    done, again = tiny.corpus("allowed", mixed, model, "--allow-errors")
    checks.equal("--allow-errors: exit code", done.returncode, 0)
    checks.check("--allow-errors: the same output", again == seen)
    done, again = tiny.corpus("two", mixed, model, "--dp", "2", "--max-seqs", "3", ranks=2)
    checks.equal("two replicas: exit code", done.returncode, 76)
    checks.check("two replicas: the same output", again == seen)


def zstd_frame(blocks):
    """A Zstandard frame of raw (bytes) and run-length (byte, count) blocks, each of at most 128 KiB; window 2 MiB."""
    out = struct.pack("<IBB", 0xFD2FB528, 0, 0x58)
    for i, block in enumerate(blocks):
        last = i + 1 == len(blocks)
        if isinstance(block, bytes):
            out += struct.pack("<I", last | 0 << 1 | len(block) << 3)[:3] + block
        else:
            out += struct.pack("<I", last | 1 << 1 | block[1] << 3)[:3] + block[0]
    return out


def check_files(checks, tiny, model):
    rows = [b'{"id":"a","prompt":"one","max_tokens":1}', b'{"id":"b","prompt":"two","max_tokens":2}']
    plain = b"\n".join(rows) + b"\n"
    done, expected = tiny.corpus("plain", plain, model)
    checks.equal("a plain file: exit code", done.returncode, 0)
    packed, frame = gzip.compress(plain), zstd_frame([plain[:30], plain[30:]])

    for name, content in {
        "CR LF": plain.replace(b"\n", b"\r\n"),
        "no line end at the end": plain[:-1],
        "a byte order mark": b"\xef\xbb\xbf" + plain,
        "blank lines": b"\n \t\n" + plain.replace(b"\n", b"\n\n\r\n") + b"\n",
        "gzip": packed,
        "gzip in two members": gzip.compress(plain[:17]) + gzip.compress(plain[17:]),
        "Zstandard": frame,
        "Zstandard in two frames": zstd_frame([plain[:17]]) + zstd_frame([plain[17:]]),
    }.items():
        done, seen = tiny.corpus("form", content, model)
        checks.check(f"{name}: the same output", done.returncode == 0 and seen == expected, (done.stderr, seen))

    cut = len(zlib.compress(b"")) + 6
    bomb = zstd_frame([(b"x", 128 << 10)] * 4096 + [b'\n' + rows[1] + b'\n'])
    long = b'{"prompt":"' + b"x" * (17 << 20) + b'"}\n'
    third = b'{"id":"c","prompt":"three"'
    # (what, the file, codes of its rows, line of the last error)
    for name, content, codes, line in [
        ("a gzip file cut short", packed[:-cut], None, None),
        ("a gzip file with a wrong checksum", packed[:-8] + b"\0" * 8, ["", "", "damaged_input"], 3),
        ("a Zstandard file cut short", zstd_frame([plain, plain])[:-5], None, None),
        ("a bomb of 512 MiB in 16 kB", bomb, ["too_long_line", ""], 1),
        ("a line of 17 MiB", long + plain, ["too_long_line", "", ""], 1),
        ("a last row cut short", plain + third, ["", "", "bad_json"], 3),
        ("an id twice", plain + rows[0] + b"\n", ["", "", "duplicate_id"], 3),
        ("UTF-16 with its mark", plain.decode().encode("utf-16"), ["nul_byte"] * 3, 3),
        ("an executable", b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 4, None, None),
    ]:
        done, seen = tiny.corpus("file", content, model)
        if not checks.check(f"{name}: exit code 76 and an output", done.returncode == 76 and seen is not None, done.stderr):
            continue
        results = [json.loads(row) for row in seen.splitlines()]
        seen_codes = [row.get("error", {}).get("code", "") for row in results]
        if codes is not None:
            checks.equal(f"{name}: results", seen_codes, codes)
        last = [row["error"] for row in results if "error" in row][-1]
        checks.check(f"{name}: the error names its line and byte",
                     isinstance(last["byte"], int) and (line is None or last["line"] == line), last)
        checks.check(f"{name}: memory", tiny.peak_bytes("file") < tiny.peak_bytes("plain") + MEMORY,
                     tiny.peak_bytes("file") >> 20)

    done, seen = tiny.corpus("empty", b"", model)
    checks.check("an empty file: an empty output", done.returncode == 0 and seen == b"", done.stderr)


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        model = tiny.model("tiny", "--context", "256", "--layers", "1")
        check_rows(checks, tiny, model)
        check_files(checks, tiny, model)
    checks.end()


if __name__ == "__main__":
    main()

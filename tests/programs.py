#!/usr/bin/env python3
"""Runs the meson tests of a build folder and counts their cases: of doctest programs each case, of others the program.

    tests/programs.py build                     last line: N passed, N failed, N skipped
    tests/programs.py build --but logic         without those of that suite
    tests/programs.py build --but logic --list  what ninja makes for all but these: their programs are left out"""

import argparse
import json
import os
import re
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--but", metavar="SUITE")
parser.add_argument("--list", action="store_true")
arguments = parser.parse_args()
folder = arguments.folder


def introspect(what):
    return json.loads(subprocess.run(["meson", "introspect", folder, what], capture_output=True, check=True, text=True).stdout)


if arguments.list:
    needed, left_out = set(), set()
    for test in introspect("--tests"):
        of_suite = any(suite.split(":")[-1] == arguments.but for suite in test["suite"])
        (left_out if of_suite else needed).update(test["depends"])
    for target in introspect("--targets"):
        program = target["type"] == "executable" and target["id"] in left_out - needed
        if target["build_by_default"] and not program:
            print(*(os.path.relpath(file, os.path.abspath(folder)) for file in target["filename"]))
    sys.exit()
but = ["--no-suite", arguments.but] if arguments.but else []
# The limits in meson.build are those of a quiet machine.
code = subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--num-processes", "2", "--print-errorlogs",
                       "--timeout-multiplier", "3", *but]).returncode
passed = failed = skipped = 0
with open(os.path.join(folder, "meson-logs", "testlog.json"), encoding="utf-8") as log:
    for line in log:
        test = json.loads(line)
        output = test.get("stdout") or ""
        # Of a program on several ranks, rank 0's line is counted.
        cases = re.search(r"test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped", output)
        reasons = re.findall(r"skipped: (.*)", output)
        for reason in reasons:
            print(f"skipped: {test['name']}: {reason.strip()}")
        named_skips = len(reasons)
        if cases:
            p, f, s = map(int, cases.groups())
            if any(word.startswith("-sf") for word in test.get("command", [])):
                s = 0  # the other files' cases, which another run of the program takes
            if s:
                print(f"skipped: {test['name']}: {s} cases that run only when asked for (doctest's skip)")
            passed, failed, skipped = passed + max(0, p - named_skips), failed + f, skipped + s + named_skips
            if test["result"] not in ("OK", "SKIP") and f == 0:
                failed += 1  # a crash or a time limit after good cases
        elif test["result"] == "OK":
            passed += 1
        elif test["result"] == "SKIP":
            skipped += 1
            if not reasons:
                print("skipped:", test["name"])
        else:
            failed += 1
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or code else 0)

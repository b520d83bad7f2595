"""Checks the rules of docs/notation.md and the README's house that a machine can check. Prints each violation as path:line: text."""

import os
import re
import sys
import tempfile

# A file may include its own floor and lower ones.
FLOORS = {
    "src/base": 0,
    "kernels": 1, "topology": 1,
    "src/device": 2, "src/comm": 2, "src/checkpoint": 2,
    "src/model": 3, "src/text": 3,
    "src/engine": 4, "src/job": 4, "src/quality": 4,
    "src/plan": 5,
    "launch": 6,
}
MAX_LINES = {".h": 150, ".cpp": 400, ".cu": 400}
# path: why it may be longer.
LICENSED_SIZE = {
    "kernels/kernels.h": "the whole contract of a compute backend on one page",
    "kernels/cpu/drive.h": "the loops of every instruction set, as templates",
    "kernels/cpu/attend_loop.h": "a source that each instruction set includes",
    "kernels/cpu/row_loops.h": "a source that each instruction set includes",
}
# Included once by each instruction set, inside its own namespace: without a guard on purpose.
UNGUARDED = {"kernels/cpu/attend_loop.h", "kernels/cpu/row_loops.h"}
# path: why it may read the environment.
LICENSED_ENVIRONMENT = {
    "launch/environment.cpp": "the one reader of the environment",
}
EXTENSIONS = tuple(MAX_LINES)

# At file scope (clang-format leaves namespaces unindented), a variable that is not constant.
GLOBAL = re.compile(r"^(?:static |inline |thread_local |extern )*(?!const|using|class|struct|enum|union|namespace|template|typedef|friend|return|static_assert)"
                    r"[A-Za-z_][\w:]*(?:<[^()]*>)?[ *&]+[a-z_]\w*(?:\[[^\]]*\])*\s*(?:=[^=].*|\{.*)?;\s*(?://.*)?$")
STATIC_LOCAL = re.compile(r"^\s+(?:static|thread_local)\s+(?!const|inline|_)(?:[\w:]+(?:<[^()]*>)?[ *&]+)\w+\s*(?:=|\{|;)")


def floor_of(path):
    folder = os.path.dirname(path)
    while folder:
        if folder in FLOORS:
            return FLOORS[folder]
        folder = os.path.dirname(folder)
    return None


def resolve(root, include):
    for base in ("", "src/"):
        if os.path.isfile(os.path.join(root, base + include)):
            return base + include
    return None


def check_include(root, path, include):
    if include == "launch/build_commit.h":  # generated
        return None
    target = resolve(root, include)
    if target is None:
        return f'"{include}" is not a path from the root or src'
    own, other = floor_of(path), floor_of(target)
    if other is None:
        return f'"{include}" is in no floor'
    if other > own:
        return f'floor {own} includes floor {other}: "{include}"'
    return None


def check_line(root, path, line):
    include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
    if include:
        return check_include(root, path, include.group(1))
    code = line.split("//")[0]
    if re.search(r"\bstd::w?regex\b|<regex>", code):
        return "std::regex overflows the stack on long lines; use PCRE2"
    if re.search(r"\b(getenv|environ|secure_getenv)\b", code) and path not in LICENSED_ENVIRONMENT:
        return "only launch/environment.cpp reads the environment"
    if GLOBAL.match(line) or STATIC_LOCAL.match(line):
        return "a mutable global: " + line.strip()
    return None


def check_file(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        lines = file.read().splitlines()
    limit = MAX_LINES[os.path.splitext(path)[1]]
    if len(lines) > limit and path not in LICENSED_SIZE:
        yield f"{path}:{len(lines)}: longer than {limit} lines"
    if path.endswith(".h") and path not in UNGUARDED and not any(line == "#pragma once" for line in lines):
        yield f"{path}:1: no #pragma once"
    for number, line in enumerate(lines, 1):
        fault = check_line(root, path, line)
        if fault:
            yield f"{path}:{number}: {fault}"


def sources(root):
    for top in ("src", "kernels", "topology", "launch"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(EXTENSIONS):
                    yield os.path.relpath(os.path.join(folder, name), root)


def check(root):
    faults = []
    for path in sorted(sources(root)):
        if floor_of(path) is None:
            faults.append(f"{path}:1: is in no floor")
        else:
            faults.extend(check_file(root, path))
    licenses = {**LICENSED_SIZE, **LICENSED_ENVIRONMENT}
    faults.extend(f"{path}:1: licensed, but it does not exist" for path in licenses if root == ROOT and not os.path.isfile(os.path.join(root, path)))
    return faults


# Planted violations, and good lines that must pass: path, text, part of the fault or None.
PLANTED = [
    ("src/base/a.cpp", '#include "model/b.h"\n', "floor 0 includes floor 3"),
    ("src/comm/a.cpp", '#include "engine/c.h"\n', "floor 2 includes floor 4"),
    ("launch/a.cpp", '#include "model/b.h"\n', None),
    ("src/engine/a.cpp", '#include "nowhere/d.h"\n', "not a path"),
    ("src/elsewhere/a.cpp", "int f();\n", "in no floor"),
    ("src/text/a.h", "#pragma once\n" * 151, "longer than 150"),
    ("src/text/b.cpp", "// x\n" * 401, "longer than 400"),
    ("src/text/c.h", "int f();\n", "no #pragma once"),
    ("src/text/d.cpp", "std::regex r;\n", "std::regex"),
    ("src/text/e.cpp", "int counter = 0;\n", "mutable global"),
    ("src/text/f.cpp", "std::vector<int> table;\n", "mutable global"),
    ("src/text/g.cpp", "void f() {\n  static int calls = 0;\n}\n", "mutable global"),
    ("src/text/h.cpp", "thread_local Buffer buffer;\n", "mutable global"),
    ("src/text/i.cpp", 'auto* p = getenv("X");\n', "reads the environment"),
    ("src/text/j.cpp", "constexpr int kSize = 3;\nconst std::string kName = \"x\";\nint f(int x);\nusing A = int;\nstruct B;\n", None),
    ("src/text/k.cpp", "struct S {\n  static S make(int x);\n  static constexpr int kSize = 3;\n  int x = 0;\n};\n", None),
]


def self_test():
    for path, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            for name, content in (("src/model/b.h", "#pragma once\n"), ("src/engine/c.h", "#pragma once\n"), (path, text)):
                os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(content)
            faults = check(root)
            seen = any(expected in fault for fault in faults) if expected else not faults
            if not seen:
                sys.exit(f"floors: self-test: {path} should give {expected!r}, gave {faults}")
    return len(PLANTED)


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
    planted = self_test()
    found = check(ROOT)
    for fault in found:
        print(fault)
    count = sum(1 for _ in sources(ROOT))
    print(f"floors: {count} files checked, {len(found)} violations; {planted} planted cases told apart")
    sys.exit(1 if found else 0)

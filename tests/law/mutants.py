"""Shows that the law test can fail: three small wrongs, each built and caught. A wrong that goes unnoticed fails this."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PLACE = os.path.join(ROOT, "build-mutants")

# name: (file, [(text, its replacement), ...])
MUTANTS = {
    "a reduction reordered: roots are added from left to right, not along the tree": ("src/comm/tree_reduce.cpp", [
        ("  program_ = tree_program(units, all);",
         "  program_ = tree_program(units, all);\n  std::fill(program_.pops.begin() + 1, program_.pops.end(), 1);\n  program_.pops[0] = 0;")]),
    "a KV rounding moved: a row that is alone in its step rounds K before its rotation": ("kernels/cpu/reference_attention.cpp", [
        ("  float k[kMaxHeadDim];\n",
         "  float k[kMaxHeadDim];\n  float early[kMaxHeadDim];\n"
         "  for (int i = 0; i < head_dim; i++) early[i] = a.k.row(row)[head * head_dim + i];\n"
         "  if (a.q.rows == 1) for (int i = 0; i < head_dim; i++) early[i] = to_float(to_bf16(early[i]));\n"),
        ("a.k.row(row) + head * head_dim, head_dim, k);", "early, head_dim, k);")]),
    "a chunk boundary leaked: attention begins with the chunk's own block": ("kernels/cpu/reference_attention.cpp", [
        ("  for (int64_t b = first_block; b * kBlockTokens < positions; b++) {",
         "  const int64_t blocks = (positions + kBlockTokens - 1) / kBlockTokens, own = span.first_position / kBlockTokens;\n"
         "  for (int64_t t = first_block; t < blocks; t++) {\n    const int64_t b = (t + own) % blocks;"),
        ("b == first_block ? all : block", "t == first_block ? all : block"),
        ("if (b > first_block) join", "if (t > first_block) join")]),
}


def build():
    env = dict(os.environ, CCACHE_NOHASHDIR="1")
    if not os.path.exists(os.path.join(PLACE, "build", "build.ninja")):
        subprocess.run(["meson", "setup", os.path.join(PLACE, "build"), PLACE], check=True, env=env, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", os.path.join(PLACE, "build"), "trireme", "tests/testkit/make_tiny_model"], check=True, env=env, stdout=subprocess.DEVNULL)


def law():
    """The runs that broke the law, and those of them that ended and had other bits."""
    command = [sys.executable, os.path.join(HERE, "law.py"), "--probe", "--build", os.path.join(PLACE, "build")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print("   ", done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-300:], flush=True)
    failed, differed = done.stdout.count("FAILED "), done.stdout.count(" rows differ from one rank")
    return max(failed, int(done.returncode != 0)), differed


def main():
    files = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    for name in files:
        target = os.path.join(PLACE, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target) or open(os.path.join(ROOT, name), "rb").read() != open(target, "rb").read():
            shutil.copy(os.path.join(ROOT, name), target)  # newer than what was built of a mutant
    print("as it is:")
    build()
    passed, failed = (1, 0) if law() == (0, 0) else (0, 1)
    for name, (path, changes) in MUTANTS.items():
        print(f"{name}:", flush=True)
        target = os.path.join(PLACE, path)
        original = open(target, encoding="utf-8").read()
        text = original
        for before, after in changes:
            if text.count(before) != 1:
                raise SystemExit(f"mutants: {path} does not hold exactly one {before!r}; adapt tests/law/mutants.py")
            text = text.replace(before, after)
        try:
            with open(target, "w", encoding="utf-8") as f:
                f.write(text)
            build()
            broken, differed = law()
            caught = broken > 0 and differed == broken
        finally:
            with open(target, "w", encoding="utf-8") as f:
                f.write(original)
        print(f"    {'caught' if caught else 'NOT CAUGHT'}: {differed} of {broken} by other bits", flush=True)
        passed, failed = passed + caught, failed + (not caught)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

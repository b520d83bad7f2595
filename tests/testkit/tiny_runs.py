"""What the tests in Python share: a tiny model, runs of the program, and the count of what held.

Every check has a name; the last line is "N passed, N failed, N skipped", as tests/run.sh wants it."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Checks:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def check(self, name, holds, seen=""):
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {name}{': ' if seen != '' else ''}{str(seen)[:2000]}", flush=True)
        return holds

    def equal(self, name, seen, expected):
        return self.check(name, seen == expected, f"{str(seen)[:600]!r} instead of {str(expected)[:600]!r}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped: {name}: {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)


class Tiny:
    """A folder with tiny models in it, that goes away at the end, and the program under test."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.trireme = os.path.join(self.build, "trireme")
        self.folder = tempfile.mkdtemp(prefix="trireme-inputs-")
        os.chmod(self.folder, 0o755)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a time limit: clean up all the same

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, content):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def model(self, name="tiny", *options):
        """A GGUF file; the first run converts it to NAME.gguf.h5 beside it."""
        path = self.path(f"{name}.gguf")
        subprocess.run([os.path.join(self.build, "tests", "testkit", "make_tiny_model"), path, *options], check=True)
        return path

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("TRIREME_")}
        env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_hwloc_base_binding_policy="none", **more)
        return env

    def run(self, arguments, ranks=1, stdin=None, timeout=120, **more):
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        return subprocess.run([*launcher, self.trireme, *arguments], input=stdin, capture_output=True, timeout=timeout,
                              env=self.environment(), **more)

    def corpus(self, name, rows, model, *options, ranks=1, stdin=None, timeout=120):
        """Runs `rows` (bytes, or a path) and returns (process, output as bytes or None)."""
        source = self.put(f"{name}.jsonl", rows) if isinstance(rows, bytes) else rows
        out = self.path(f"{name}.out.jsonl")
        done = self.run(["run", source, "-m", model, "-o", out, "--log-level", "error", "--restart", *options],
                        ranks=ranks, stdin=stdin, timeout=timeout)
        if not os.path.exists(out):
            return done, None
        with open(out, "rb") as file:
            return done, file.read()

    def peak_bytes(self, name):
        """Of the fullest rank of the run that corpus(name) made."""
        with open(self.path(f"{name}.out.jsonl.run/status.json"), encoding="utf-8") as file:
            return max(rank["peak_memory_bytes"] for rank in json.load(file)["ranks"])

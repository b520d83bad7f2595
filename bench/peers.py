"""Takes samples of both programs in turn and prints a table of medians and spreads; called by bench/peers.sh."""

import argparse
import json
import os
import statistics
import subprocess


def run(command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


class Machine:
    def __init__(self, args):
        self.args, self.cpus = args, sorted(os.sched_getaffinity(0))
        self.pinned = {"OMP_PROC_BIND": "true", "OMP_PLACES": ",".join(f"{{{c}}}" for c in self.cpus)}

    def read_gbps(self):
        """The bandwidth just now."""
        if self.args.peer_only:
            return 0.0
        lines = [json.loads(line) for line in run([self.args.trireme, "bench", "limits", "--json"]).splitlines()]
        return next(line["median"] for line in lines if line["bench"] == "read")

    def ours(self, what, batch):
        sizes = ["--prompt-tokens", "512"] if what == "prefill" else ["--batch", str(batch), "--steps", "64"]
        line = run([self.args.trireme, "bench", what, "-m", self.args.model, "--threads", str(len(self.cpus)), "--max-step-tokens", "512",
                    "--repeats", "1", "--json", *sizes])
        return json.loads(line.splitlines()[-1])["median"]

    def theirs(self, what, batch):
        threads = str(len(self.cpus))
        if batch == 1:
            sizes = ["-p", "512", "-n", "0"] if what == "prefill" else ["-p", "0", "-n", "64"]
            out = run([f"{self.args.peer}/llama-bench", "-m", self.args.model, "-t", threads, "-r", "1", "-o", "json", *sizes], self.pinned)
            return json.loads(out)[0]["avg_ts"]
        out = run([f"{self.args.peer}/llama-batched-bench", "-m", self.args.model, "-t", threads, "-tb", threads, "-c", "4096", "-b", "2048", "-ub", "512",
                   "-npp", "16", "-ntg", "64", "-npl", str(batch), "--output-format", "jsonl"], self.pinned)
        line = next(json.loads(text) for text in reversed(out.splitlines()) if text.startswith("{"))
        return line["speed_tg"]


def spread(samples):
    return f"{statistics.median(samples):8.1f} ({min(samples):.1f} to {max(samples):.1f})"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--trireme", "--peer", "--model"):
        parser.add_argument(name, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-only", action="store_true")
    args = parser.parse_args()
    machine = Machine(args)
    version = "" if args.peer_only else run([args.trireme, "--version", "--verbose"]).split("\n")[1]
    print(f"# {os.path.basename(args.model)}, {len(machine.cpus)} CPUs, pinned, samples in turn, tok/s: median (lowest to highest); {version}")
    for what, batch in (("prefill", 1), ("decode", 1), ("decode", 16)):
        ours, theirs, bandwidth = [], [], [machine.read_gbps()]
        for _ in range(args.repeats):
            if not args.peer_only:
                ours.append(machine.ours(what, batch))
            theirs.append(machine.theirs(what, batch))
            bandwidth.append(machine.read_gbps())
        name = "prefill 512" if what == "prefill" else f"decode batch {batch}"
        text = f"{name:<16} llama.cpp {spread(theirs)}"
        if ours:
            text += f"   trireme {spread(ours)}   ratio {statistics.median(ours) / statistics.median(theirs):.2f}   read {spread(bandwidth)} GB/s"
        print(text, flush=True)


if __name__ == "__main__":
    main()

"""One training step of bptt beside its peers, in turns on one machine: JSON lines, then a table of ratios.

    python benches/side_by_side.py --device gpu > record.md

A ratio is the peer's time divided by bptt's in the same round, so above 1 bptt is faster; of the medians, and in brackets of the
shortest steps. What fails is named on stderr and left out. On a GPU bptt runs with each of its precisions, and PyTorch in each of its
modes.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
SHAPES = {"cpu": ["S1", "S2", "S3", "I=512,H=512,L=1,B=32,T=64"], "gpu": ["S1", "S2", "S3", "S4", "S5"]}
STEPS = {"S1": 200, "S2": 15, "S3": 8}


def lines(command, threads):
    """The JSON lines of a process, or None and why there are none."""
    limited = {"RAYON_NUM_THREADS": str(threads)} if threads else {}
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=os.environ | limited)
    if run.returncode != 0:
        return None, (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
    return [json.loads(line) for line in run.stdout.splitlines() if '"ms_median"' in line or '"error"' in line], None


def sides(args, shape):
    """Name and command of each side."""
    common = ["--shape", shape, "--steps", args.steps or STEPS.get(shape, 12)]
    lengths = ["--lengths"] if args.lengths else []
    adapter = ["--adapter", args.adapter] if args.adapter else []
    threads = ["--threads", args.threads] if args.threads else []
    for precision in ["f32", "mixed"] if args.device == "gpu" else ["f32"]:
        yield "bptt", [args.bptt, "bench", "--device", args.device, *adapter, "--precision", precision, *common, *lengths, "--json"]
    if args.pytorch:
        device = {"gpu": "cuda"}.get(args.device, args.device)
        yield "PyTorch", [sys.executable, HERE / "pytorch.py", "--device", device, *threads, *common, *lengths]
    if args.burn:
        yield "Burn", [args.burn, *(["--device", "cpu"] if args.device == "cpu" else []), *common, "--json"]


def measure(args):
    """{shape: {(side, mode): {round: (median, shortest)}}}, printed line by line on the way."""
    found = {}
    for turn in range(1, args.rounds + 1):
        for shape in args.shape or SHAPES[args.device]:
            for side, command in sides(args, shape):
                try:
                    rows, problem = lines(command, args.threads)
                except OSError as error:
                    sys.exit(f"{side} does not start: {error}")
                if rows is None:
                    print(f"{side} at {shape}, round {turn}: {problem}", file=sys.stderr)
                    continue
                for row in rows:
                    print(json.dumps({"side": side, "round": turn, **row}), flush=True)
                    if "error" not in row:
                        of = f"{shape}, unequal lengths" if row["shape"].endswith(" with the options") else shape
                        rounds = found.setdefault(of, {}).setdefault((side, row.get("mode", "")), {})
                        rounds[turn] = (row["ms_median"], row["ms_min"])
    return found


def table(found):
    """Markdown: for each shape and peer the medians of both and the ratios of each round that both have."""
    out = ["| shape | bptt | beside | bptt, ms | peer, ms | ratios |", "| --- | --- | --- | --- | --- | --- |"]
    for shape, all_sides in found.items():
        own = {mode: rounds for (side, mode), rounds in all_sides.items() if side == "bptt"}
        peers = {f"{side} {mode}": rounds for (side, mode), rounds in all_sides.items() if side != "bptt"}
        for (mode, ours), (peer, theirs) in itertools.product(own.items(), peers.items()):
            pairs = [(ours[turn], theirs[turn]) for turn in theirs if turn in ours]
            if not pairs:
                continue
            medians = [", ".join(f"{pair[side][0]:.3g}" for pair in pairs) for side in (0, 1)]
            ratios = ", ".join(f"{b[0] / a[0]:.2f} ({b[1] / a[1]:.2f})" for a, b in pairs)
            out.append(f"| {shape} | {mode} | {peer} | {medians[0]} | {medians[1]} | {ratios} |")
    return "\n".join(out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bptt", default=HERE.parent / "target/release/bptt", help="the binary (default target/release/bptt)")
    ap.add_argument("--burn", metavar="BINARY", help="burn-bench, to be measured too")
    ap.add_argument("--no-pytorch", dest="pytorch", action="store_false", help="leave PyTorch out")
    ap.add_argument("--device", default="cpu", choices=SHAPES)
    ap.add_argument("--adapter", help="part of the GPU's name, for bptt")
    ap.add_argument("--threads", type=int, help="CPU threads of each side; their own choice if not given")
    ap.add_argument("--shape", action="append", help="repeatable; those of the device if none is given")
    ap.add_argument("--lengths", action="store_true", help="also sequences of unequal length, for bptt and PyTorch")
    ap.add_argument("--steps", type=int, help="timed steps (by shape if not given)")
    ap.add_argument("--rounds", type=int, default=3, help="turns of all sides (default 3)")
    args = ap.parse_args()
    found = measure(args)
    print(f"\n{platform.platform()}, {platform.processor() or platform.machine()}\n\n{table(found)}")


if __name__ == "__main__":
    main()

"""How time and memory of one training step grow with the number of time steps, as JSON lines and an SVG.

    python benches/growth.py --bptt target/release/bptt --device cpu --svg growth-cpu.svg

Each length runs as a process of its own; the shortest of its steps counts, because a shared machine only ever adds time. Lengths are
taken in several rounds, so that a slow minute does not fall on one of them alone.
"""

import argparse
import json
import subprocess

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]


def measure(args, steps, regions):
    shape = f"I={args.inputs},H={args.hidden},L={args.layers},B={args.batch},T={steps}"
    command = [args.bptt, "bench", "--device", args.device, "--shape", shape, "--steps", str(regions), "--json"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return next(json.loads(line) for line in run.stdout.splitlines() if '"ms_min"' in line)


def chart(rows, title):
    """Two panels over T in powers of two: time a time step beside that of the shortest, and memory needed and allocated."""
    width, height, left, gap, top, bottom = 860, 360, 60, 100, 50, 50
    panel = (width - left - gap - 20) / 2

    def x(index, offset):
        return offset + panel * index / (len(rows) - 1)

    def y(value, most):
        return top + (height - top - bottom) * (1 - value / most)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        "<style>svg{color:#222;background:#fff}text{fill:currentColor}.axis{stroke:currentColor;opacity:.5}.grid{stroke:currentColor;"
        "opacity:.12}.a{stroke:#0b6ea8;fill:none;stroke-width:2}.b{stroke:#c2571a;fill:none;stroke-width:2;stroke-dasharray:6 4}"
        "@media(prefers-color-scheme:dark){svg{color:#ddd;background:#161616}.a{stroke:#5bb8f0}.b{stroke:#f0a060}}</style>",
        f'<text x="{left}" y="20" font-size="15">{title}</text>',
    ]
    base = rows[0]["ms_min"] / rows[0]["T"]
    pace = [row["ms_min"] / row["T"] / base for row in rows]
    mib = 2**20
    panels = [
        ("time a time step, T = 64 is 1", max(1.5, 1.1 * max(pace)), True, [("a", pace)]),
        (
            "MiB, allocated and (dashed) foretold",
            rows[-1]["bytes"] / mib * 1.1,
            False,
            [("a", [row["bytes"] / mib for row in rows]), ("b", [row["bytes_needed"] / mib for row in rows])],
        ),
    ]
    for number, (label, most, fine, lines) in enumerate(panels):
        offset = left + number * (panel + gap)
        out.append(f'<text x="{offset}" y="40">{label}</text>')
        ticks = 6
        for at in range(ticks + 1):
            value = most * at / ticks
            out.append(f'<line class="grid" x1="{offset}" x2="{offset + panel}" y1="{y(value, most):.1f}" y2="{y(value, most):.1f}"/>')
            text = f"{value:.2f}" if fine else f"{value:.0f}"
            out.append(f'<text x="{offset - 8}" y="{y(value, most) + 4:.1f}" text-anchor="end">{text}</text>')
        out.append(f'<line class="axis" x1="{offset}" x2="{offset + panel}" y1="{height - bottom}" y2="{height - bottom}"/>')
        for index, row in enumerate(rows):
            out.append(f'<text x="{x(index, offset):.1f}" y="{height - bottom + 18}" text-anchor="middle">{row["T"]}</text>')
        for name, values in lines:
            points = " ".join(f"{x(index, offset):.1f},{y(value, most):.1f}" for index, value in enumerate(values))
            out.append(f'<polyline class="{name}" points="{points}"/>')
    out.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">time steps T</text></svg>')
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bptt", default="target/release/bptt", help="the program")
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--inputs", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="leave longer sequences out")
    parser.add_argument("--regions", type=int, default=5, help="timed regions in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--svg", help="where to draw the plot")
    args = parser.parse_args()
    best = {}
    for _ in range(args.rounds):
        for steps in (length for length in LENGTHS if length <= args.longest):
            row = {"T": steps, **measure(args, steps, args.regions)}
            if steps not in best or row["ms_min"] < best[steps]["ms_min"]:
                best[steps] = row
    rows = [best[steps] for steps in sorted(best)]
    for row in rows:
        print(json.dumps({key: row[key] for key in ["T", "shape", "device", "adapter", "ms_min", "bytes", "bytes_needed"]}))
    if args.svg:
        title = f"{rows[0]['adapter']}: I={args.inputs}, H={args.hidden}, L={args.layers}, B={args.batch}"
        with open(args.svg, "w", encoding="utf-8") as file:
            file.write(chart(rows, title))


if __name__ == "__main__":
    main()

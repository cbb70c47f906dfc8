#!/usr/bin/env python3
"""PyTorch's time for one LSTM training step, in the JSON lines that `bptt bench --json` prints.

    pip install torch
    python benches/pytorch.py --shape S1 --shape I=8,H=128,L=2,B=64,T=96 --steps 20 --device cuda

A shape is inputs I, hidden H, layers L, batch B and time T, or one of the names S1 to S5. A step is the forward pass of
nn.LSTM and of Linear(H, 1) on the last time step, MSE, backward, clipping to norm 1.0 and Adam (1e-3). All data lies on
the device before the clock starts; three steps run before it starts.

One line per shape and mode goes to standard output; a mode that does not run gives its error in place of numbers. With --lengths
there is a second one, of a PackedSequence with the lengths that `bptt bench --lengths` has.

    mode            on the CPU "fp32"; on CUDA "tf32" (TF32 products), "fp32" (none), "fp16-autocast" (with GradScaler) and
                    "cuda-graph" (TF32, the whole step captured once and replayed)
    ms_*            milliseconds a step. CUDA: between events recorded after each step, with one wait at the very end, so
                    that the host may run ahead as it does in training
    first_step_ms   from a built model to the end of its first step: library start-up, warm-up, and graph capture where
                    there is one. Only a process's first line pays for loading the libraries
    gflops          2 per multiply-add of the matrix products, over ms_median; backward counts twice the forward, less the
                    gradient of the input, which nobody asks for; pointwise work is not counted
    bytes           the peak of allocated device memory, data and model included; null on the CPU
"""
import argparse
import gc
import itertools
import json
import platform
import statistics
import sys
import time

import torch
from torch import nn

PRESETS = {
    "S1": "I=1,H=64,L=2,B=64,T=10",
    "S2": "I=8,H=128,L=2,B=64,T=96",
    "S3": "I=128,H=256,L=2,B=64,T=128",
    "S4": "I=512,H=512,L=2,B=64,T=256",
    "S5": "I=1024,H=1024,L=2,B=128,T=128",
}
MODES = {"cpu": ["fp32"], "cuda": ["tf32", "fp32", "fp16-autocast", "cuda-graph"]}
WARM_UP = 3


class Model(nn.Module):
    def __init__(self, inputs, hidden, layers):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, 1)

    def forward(self, x):                       # [B, T, I], or a PackedSequence
        y, (h, _) = self.lstm(x)
        return self.fc(y[:, -1] if torch.is_tensor(y) else h[-1])  # [B, 1]


def parse_shape(text):
    try:
        shape = {k: int(v) for k, v in (part.split("=") for part in PRESETS.get(text, text).split(","))}
    except ValueError:
        shape = {}
    if sorted(shape) != sorted("IHLBT") or min(shape.values()) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither one of {', '.join(PRESETS)} nor like {PRESETS['S1']}")
    return {letter: shape[letter] for letter in "IHLBT"}


def spread(shape):
    """Lengths of a batch, uniform in 1..T."""
    B, T = shape["B"], shape["T"]
    return [1 + (2 * n + 1) * T // (2 * B) for n in range(B)]


def flop(shape, rows):
    I, H, L, B, _ = shape.values()
    first_input = 2 * rows * 4 * H * I
    forward = sum(2 * rows * 4 * H * ((I if layer == 0 else H) + H) for layer in range(L)) + 2 * B * H
    return 3 * forward - first_input


def set_tf32(on):
    # These names set the newer `fp32_precision` too; setting that one alone leaves the two at odds, which PyTorch refuses.
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def eager_step(model, x, y, optimizer):
    loss_of = nn.MSELoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return step


def autocast_step(model, x, y, optimizer):
    loss_of, scaler = nn.MSELoss(), torch.amp.GradScaler("cuda")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.float16):
            loss = loss_of(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    return step


def captured_step(step):
    """The step as one CUDA graph. Libraries choose kernels and allocate on the capture's own stream first."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay


def cpu_times(step, steps):
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - began))
    return times


def cuda_times(step, steps):
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]


def measure(shape, mode, device, steps, lengths):
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        set_tf32(mode in ("tf32", "cuda-graph"))
    model = Model(shape["I"], shape["H"], shape["L"]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=mode == "cuda-graph")
    x = torch.randn(shape["B"], shape["T"], shape["I"], device=device)
    y = torch.randn(shape["B"], 1, device=device)
    if lengths:
        x = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    if cuda:
        torch.cuda.synchronize()

    began = time.perf_counter()
    step = (autocast_step if mode == "fp16-autocast" else eager_step)(model, x, y, optimizer)
    if mode == "cuda-graph":
        step = captured_step(step)
    step()
    if cuda:
        torch.cuda.synchronize()
    first = 1000 * (time.perf_counter() - began)

    for _ in range(WARM_UP - 1):
        step()
    if cuda:
        torch.cuda.synchronize()
    times = (cuda_times if cuda else cpu_times)(step, steps)
    median = statistics.median(times)
    rows = sum(lengths) if lengths else shape["B"] * shape["T"]
    return {
        "ms_median": round(median, 4), "ms_min": round(min(times), 4), "ms_max": round(max(times), 4), "steps": steps,
        "first_step_ms": round(first, 2), "gflops": round(flop(shape, rows) / median / 1e6, 2),
        "bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }


def adapter_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--shape", action="append", type=parse_shape, metavar="SHAPE", help="repeatable; S1 if none is given")
    ap.add_argument("--steps", type=int, default=20, help="timed steps (default 20)")
    ap.add_argument("--device", default="cpu", choices=MODES)
    ap.add_argument("--lengths", action="store_true", help="also with sequences of unequal length, packed")
    ap.add_argument("--threads", type=int, help="CPU threads; PyTorch's own choice if not given")
    a = ap.parse_args()
    if a.steps < 1:
        ap.error("--steps must be at least 1")
    if a.device == "cuda" and not torch.cuda.is_available():
        ap.error("PyTorch finds no CUDA device here")
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    adapter = adapter_name(device)
    print(f"PyTorch {torch.__version__} on {adapter}", file=sys.stderr)
    for shape in a.shape or [parse_shape("S1")]:
        name = ",".join(f"{k}={v}" for k, v in shape.items())
        batches = [(name, None)] + ([(f"{name} with the options", spread(shape))] if a.lengths else [])
        for mode, (name, lengths) in itertools.product(MODES[a.device], batches):
            line = {"device": a.device, "adapter": adapter, "shape": name, "mode": mode}
            try:
                line |= measure(shape, mode, device, a.steps, lengths)
            except Exception as error:          # the other modes and shapes are still worth their lines
                line["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(json.dumps(line), flush=True)
            # The model and the captured graph hold device memory that would count in the next line's peak.
            gc.collect()
            if a.device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The default run of `bptt`, as a PyTorch user writes it: the next year of sunspots from eleven years of months.

    pip install torch pandas
    python benches/pytorch_sunspots.py [--device cuda] [--fast-loader] [--seed N] ...

132 months in, 12 months out; two LSTM layers of 64 units and a linear head on the last step; MSE on z-scored values;
Adam 1e-3, gradients clipped to norm 1.0, batches of 64 in shuffled order, the last, smaller batch kept. The series is
split by time into 70 % training, 15 % validation and 15 % test; the parameters of the epoch with the lowest validation
loss are the ones tested. The last line printed is one JSON object.
"""
import argparse
import copy
import json
import pathlib
import time

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

MONTHS_IN, MONTHS_OUT = 132, 12
HIDDEN, LAYERS, BATCH = 64, 2, 64
CSV = pathlib.Path(__file__).resolve().parent.parent / "src" / "data" / "sunspots.csv"


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN, LAYERS, batch_first=True)
        self.fc = nn.Linear(HIDDEN, MONTHS_OUT)

    def forward(self, x):                       # [N, T, 1]
        out, _ = self.lstm(x)                   # [N, T, H]
        return self.fc(out[:, -1])              # [N, O]


def windows(series, first, last):
    """Inputs [W, T, 1] and targets [W, O] of every window whose targets lie wholly in rows first..last.

    The inputs may reach back before `first`, as they do when the model is used.
    """
    starts = range(max(first, MONTHS_IN), last - MONTHS_OUT + 1)
    x = torch.stack([series[s - MONTHS_IN:s] for s in starts]).unsqueeze(-1)
    y = torch.stack([series[s:s + MONTHS_OUT] for s in starts])
    return x, y


class IndexLoader:
    """Shuffled batches by indexing whole tensors: what DataLoader does, without its work in Python per window."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __iter__(self):
        for index in torch.randperm(len(self.x)).split(BATCH):
            index = index.to(self.x.device)
            yield self.x[index], self.y[index]


def errors(prediction, truth):
    difference = prediction - truth
    return {"rmse": difference.square().mean().sqrt().item(), "mae": difference.abs().mean().item()}


def train_epoch(model, batches, optimizer, loss_of, device):
    """One pass over the batches: the mean loss over its windows, and the number of steps."""
    model.train()
    total, seen, steps = torch.zeros((), device=device), 0, 0
    for x, y in batches:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.detach() * len(x)
        seen, steps = seen + len(x), steps + 1
    return total.item() / seen, steps           # .item() waits for the device


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    ap.add_argument("--threads", type=int, help="CPU threads; PyTorch's own choice if not given")
    ap.add_argument("--epochs", type=int, default=200, help="at most this many (default 200)")
    ap.add_argument("--patience", type=int, default=10, help="stop after this many epochs without a lower validation loss (default 10)")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--fast-loader", action="store_true", help="index whole tensors instead of using DataLoader")
    ap.add_argument("--quiet", action="store_true", help="no line per epoch")
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    device = torch.device(a.device)

    raw = torch.tensor(pd.read_csv(CSV)["sunspots"].to_numpy(), dtype=torch.float64)
    rows = len(raw)
    train_end, val_end = int(rows * 0.7), int(rows * 0.85)
    mean, std = raw[:train_end].mean(), raw[:train_end].std(correction=0)
    series = ((raw - mean) / std).float()
    x_train, y_train = windows(series, 0, train_end)
    x_val, y_val = (t.to(device) for t in windows(series, train_end, val_end))
    x_test, y_test = (t.to(device) for t in windows(series, val_end, rows))
    print(f"{rows} months; windows: {len(x_train)} training, {len(x_val)} validation, {len(x_test)} test")

    if a.fast_loader:
        batches = IndexLoader(x_train.to(device), y_train.to(device))
    else:
        batches = DataLoader(TensorDataset(x_train, y_train), batch_size=BATCH, shuffle=True)
    model = Forecaster().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.MSELoss()

    best = {"val_loss": float("inf")}
    steps, step_seconds, began = 0, 0.0, time.perf_counter()
    for epoch in range(1, a.epochs + 1):
        epoch_began = time.perf_counter()
        train_loss, taken = train_epoch(model, batches, optimizer, loss_of, device)
        step_seconds += time.perf_counter() - epoch_began
        steps += taken
        model.eval()
        with torch.no_grad():
            val_loss = loss_of(model(x_val), y_val).item()
        if val_loss < best["val_loss"]:
            best = {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss,
                    "parameters": copy.deepcopy(model.state_dict())}
        if not a.quiet:
            print(f"epoch {epoch:3}  train {train_loss:.4f}  validation {val_loss:.4f}  {time.perf_counter() - epoch_began:.2f} s")
        if epoch - best.get("epoch", 0) >= a.patience:
            break
    seconds = time.perf_counter() - began

    if "parameters" not in best:
        raise SystemExit("no epoch gave a finite validation loss")
    model.load_state_dict(best["parameters"])
    with torch.no_grad():
        test = errors(model(x_test).double() * std + mean, y_test.double() * std + mean)
    repeat_last = errors(x_test[:, -1].double() * std + mean, y_test.double() * std + mean)

    print(f"\n{epoch} epochs ({steps} steps) in {seconds:.1f} s, {1000 * step_seconds / steps:.2f} ms a step; best epoch {best['epoch']}")
    print(f"{'test, in sunspots':18} {'RMSE':>6} {'MAE':>6}")
    print(f"{'LSTM':18} {test['rmse']:6.2f} {test['mae']:6.2f}")
    print(f"{'repeat last':18} {repeat_last['rmse']:6.2f} {repeat_last['mae']:6.2f}")
    print(json.dumps({"device": a.device, "torch": torch.__version__, "threads": torch.get_num_threads(), "seed": a.seed,
                      "epochs": epoch, "best_epoch": best["epoch"], "steps": steps, "seconds": round(seconds, 3),
                      "ms_per_step": round(1000 * step_seconds / steps, 3),
                      "train_loss": best["train_loss"], "val_loss": best["val_loss"],
                      "test": test, "baselines": {"repeat_last": repeat_last}}))


if __name__ == "__main__":
    main()

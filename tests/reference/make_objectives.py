#!/usr/bin/env python3
"""Reference values for the losses of objectives: cross-entropy with label smoothing and z-loss, made with PyTorch.

Writes objectives.json beside this script. All numbers are computed in f64.
"""
import json
import os

import torch
import torch.nn.functional as F

N, D, V = 9, 5, 11
Z, SMOOTHING = 0.03, 0.15
GROWTH, REACHED, MARGIN = 1.5, 0.8, 0.25      # AdaLEA


def numbers(t):
    return [float(v) for v in t.detach().reshape(-1)]


def main():
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    x = torch.randn(N, D, requires_grad=True)
    w = torch.randn(V, D, requires_grad=True)
    targets = torch.randint(0, V, (N,))
    targets[2] = targets[6] = -1
    counted = (targets >= 0).double()
    # The inputs are those of f32.
    x.data, w.data = x.data.float().double(), w.data.float().double()

    logits = x @ w.T
    plain = F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
    smoothed = F.cross_entropy(logits, targets, ignore_index=-1, reduction="none", label_smoothing=SMOOTHING)
    z = Z * torch.logsumexp(logits, dim=-1) ** 2 * counted
    (smoothed + z).sum().backward()
    hits = (logits.argmax(-1) == targets).double()

    # AdaLEA: seconds before the event, 0 where nothing happens.
    seconds = torch.tensor([3.0, 1.3, 0.0, 0.9, 1.05, 0.2, 2.0, 0.0, 5.5]).float().double()
    a, b = x.detach().clone().requires_grad_(), w.detach().clone().requires_grad_()
    adalea = torch.exp(-GROWTH * torch.clamp(seconds - REACHED - MARGIN, min=0)) * F.cross_entropy(
        a @ b.T, targets, ignore_index=-1, reduction="none")
    adalea.sum().backward()

    out = {
        "made_by": "make_objectives.py with PyTorch " + torch.__version__.split("+")[0],
        "n": N, "d": D, "v": V, "z_loss": Z, "label_smoothing": SMOOTHING,
        "x": numbers(x), "w": numbers(w), "targets": [int(t) for t in targets],
        "loss": numbers(plain), "smoothed": numbers(smoothed), "z": numbers(z), "hits": numbers(hits),
        "dx": numbers(x.grad), "dw": numbers(w.grad),
        "adalea": {"growth": GROWTH, "reached": REACHED, "margin": MARGIN, "seconds": numbers(seconds),
                   "loss": numbers(adalea), "dx": numbers(a.grad), "dw": numbers(b.grad)},
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "objectives.json")
    with open(path, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


main()

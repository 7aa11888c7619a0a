#!/usr/bin/python3
"""make_sparsity.py - writes sparsity.json: what PyTorch makes of a small matrix by magnitude, Wanda and SparseGPT.

    /usr/bin/python3 make_sparsity.py          (Debian's python3-torch; nothing else)

W [out, in] and the inputs X [tokens, in] are in the file, as f32; all is computed in f64. Of the weights of a group
the floor of the sparsity times their number go, those of the lowest scores (SparseGPT's released code takes one more a
block, its threshold itself). Column 5 of X is always 0.
"""
import json
import os

import torch

OUT, IN, TOKENS, DEAD = 10, 24, 60, 5
torch.manual_seed(3)
W = torch.randn(OUT, IN).double()
X = (torch.randn(TOKENS, IN) @ (torch.eye(IN) + 0.3 * torch.randn(IN, IN))).double()
X[:, DEAD] = 0
W, X = W.float().double(), X.float().double()
GRAM = X.T @ X
cases = []


def lowest(scores, count):
    """1 for all but the `count` lowest of each row."""
    order = scores.sort(dim=-1, stable=True).indices[..., :count]
    return torch.ones_like(scores).scatter(-1, order, 0.0)


def masked(scores, pattern, scope):
    if isinstance(pattern, str):
        keep, group = map(int, pattern.split(":"))
        return lowest(scores.reshape(-1, group), group - keep).reshape(scores.shape)
    flat = scores if scope == "row" else scores.reshape(1, -1)
    return lowest(flat, int(pattern * flat.shape[1] + 1e-6)).reshape(scores.shape)


def record(method, pattern, scope, options, mask, weight):
    cases.append({"method": method, "sparsity": pattern, "scope": scope, "options": options,
                  "mask": "".join(str(int(x)) for x in mask.reshape(-1)),
                  "weight": weight and [float("%.8g" % x) for x in weight]})


def scored(method, scores, pattern, scope):
    """What stays keeps its value."""
    record(method, pattern, scope, {}, masked(scores, pattern, scope), None)


def sparsegpt(pattern, block, damp):
    """Frantar and Alistarh (2023), algorithm 1, in the order of the authors' code."""
    w, keep = W.clone(), torch.ones_like(W)
    h = GRAM.clone()
    dead = h.diag() == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    out = w == 0
    h += damp * h.diag().mean() * torch.eye(IN).double()
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    group = int(pattern.split(":")[1]) if isinstance(pattern, str) else 0
    for first in range(0, IN, block):
        last = min(first + block, IN)
        errors = torch.zeros(OUT, last - first).double()
        if not group:
            cost = (w[:, first:last] / u.diag()[first:last]) ** 2
            cost[out[:, first:last]] = -1
            keep[:, first:last] = masked(cost, pattern, "matrix") * (cost >= 0)
        for j in range(first, last):
            if group and j % group == 0:
                cost = (w[:, j:j + group] / u.diag()[j:j + group]) ** 2
                cost[out[:, j:j + group]] = -1
                keep[:, j:j + group] = lowest(cost, group - int(pattern.split(":")[0])) * (cost >= 0)
            error = w[:, j] * (1 - keep[:, j]) / u[j, j]
            w[:, j:last] -= error[:, None] * u[j, j:last]
            w[:, j] *= keep[:, j]
            errors[:, j - first] = error
        w[:, last:] -= errors @ u[first:last, last:]
    record("sparsegpt", pattern, None, {"block": block, "damp": damp}, keep, w.reshape(-1).tolist())


norm = X.norm(dim=0)
for pattern in (0.5, 0.3, "2:4", "1:8"):
    for scope in ("row", "matrix"):
        scored("magnitude", W.abs(), pattern, scope)
        scored("wanda", W.abs() * norm, pattern, scope)
    for block, damp in ((128, 0.01), (8, 0.1)):
        sparsegpt(pattern, block, damp)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sparsity.json"), "w") as out:
    head = {"made_by": "make_sparsity.py, PyTorch " + torch.__version__, "out": OUT, "in": IN, "tokens": TOKENS,
            "weight": [float("%.9g" % x) for x in W.reshape(-1)], "x": [float("%.9g" % x) for x in X.reshape(-1)]}
    out.write(json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")

#!/usr/bin/python3
"""make_moe.py - writes moe.json: what PyTorch says about a mixture of experts, its losses and all of their gradients.

    /usr/bin/python3 make_moe.py        (Debian's python3-torch; nothing else)

Written out token by token and expert by expert in f64; inputs follow from a formula (`wave`), as f32. The gradients are
of sum(y u) plus the losses. transformers' load_balancing_loss_func, as published for Mixtral, is beside ours: for one
layer it is k times ours without the weight; it takes the tokens of all layers together, where ours is a loss of each
layer.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

B, T, D, LAYER, DEPTH = 2, 7, 6, 3, 4


def wave(start, *shape):
    n = math.prod(shape)
    return torch.sin(start + 0.7 * torch.arange(n, dtype=torch.float64)).float().double().reshape(shape)


def huggingface(gate_logits, experts, top_k):
    """transformers 4's load_balancing_loss_func without a mask: gate_logits is a list of [N, E], one a layer."""
    weights = torch.softmax(torch.cat(gate_logits), -1)
    chosen = torch.topk(weights, top_k, -1)[1]
    per_expert = F.one_hot(chosen, experts).double().mean(0)
    return (per_expert * weights.mean(0)[None]).sum() * experts


def layer(options, p, x):
    """y, and the losses with their weights."""
    experts, k = options["experts"], options["top_k"]
    logits = x @ p["gate.weight"].T
    prob = torch.softmax(logits, -1)
    weight, chosen = prob.topk(k, -1)
    if options.get("renormalize"):
        weight = weight / weight.sum(-1, keepdim=True)
    rows = []
    for n in range(len(x)):
        y = 0
        for w, e in zip(weight[n], chosen[n].tolist()):
            h = F.silu(p["experts.gate_proj.weight"][e] @ x[n]) * (p["experts.up_proj.weight"][e] @ x[n])
            y = y + w * (p["experts.down_proj.weight"][e] @ h)
        rows.append(y)
    y = torch.stack(rows)
    if options.get("shared"):
        s = F.silu(x @ p["shared_expert.gate_proj.weight"].T) * (x @ p["shared_expert.up_proj.weight"].T)
        s = s @ p["shared_expert.down_proj.weight"].T
        how = options["shared_combine"]
        if how == "mean":
            y = (s + k * y) / (k + 1)
        else:
            y = y + (torch.sigmoid(x @ p["shared_expert_gate.weight"].T) * s if how == "gated" else s)
    load = F.one_hot(chosen, experts).double().sum((0, 1)) / (len(x) * k)
    balance = experts * (load * prob.mean(0)).sum()
    torch.testing.assert_close(huggingface([logits], experts, k), k * balance)
    scale = {"mean": 1 / DEPTH, "sum": 1, "released": DEPTH ** -LAYER}[options.get("balance_scaling", "mean")]
    losses = {"balance": options.get("balance", 0.01) * scale * balance,
              "router_z": options.get("z_loss", 0.001) * scale * torch.logsumexp(logits, -1).square().mean()}
    entropy = -(prob * prob.log()).sum(-1)
    return y, {name: v for name, v in losses.items() if options.get({"router_z": "z_loss"}.get(name, name), 1)}, {
        "load": load, "entropy": entropy}


def shapes(o):
    e, f = o["experts"], o["hidden"]
    s = {"gate.weight": (e, D), "experts.gate_proj.weight": (e, f, D), "experts.up_proj.weight": (e, f, D),
         "experts.down_proj.weight": (e, D, f)}
    if o.get("shared"):
        s.update({"shared_expert.gate_proj.weight": (o["shared"], D), "shared_expert.up_proj.weight": (o["shared"], D),
                  "shared_expert.down_proj.weight": (D, o["shared"])})
        if o["shared_combine"] == "gated":
            s["shared_expert_gate.weight"] = (1, D)
    return s


def case(**options):
    p = {name: wave(0.5 + 13 * k, *shape).requires_grad_() for k, (name, shape) in enumerate(shapes(options).items())}
    x, u = wave(1.0, B * T, D).requires_grad_(), wave(2.0, B * T, D)
    y, losses, seen = layer(options, p, x)
    gap = torch.softmax(x @ p["gate.weight"].T, -1).sort(-1, True)[0]
    k = options["top_k"]
    assert k == options["experts"] or (gap[:, k - 1] - gap[:, k]).min() > 1e-4
    (y * u).sum().add(sum(losses.values())).backward()
    flat = lambda t: [float("%.9g" % v) for v in t.detach().reshape(-1).tolist()]
    return {"options": options, "params": list(p), "y": flat(y), "dx": flat(x.grad),
            "losses": {name: float("%.9g" % v.item()) for name, v in losses.items()},
            "seen": {name: flat(v) for name, v in seen.items()}, "gradients": {n: flat(t.grad) for n, t in p.items()}}


cases = [
    case(experts=5, top_k=2, hidden=4),
    case(experts=5, top_k=2, hidden=4, renormalize=True, balance=3.0, z_loss=0.5, balance_scaling="sum"),
    case(experts=6, top_k=1, hidden=3, balance=2.0, z_loss=1.0, balance_scaling="released"),
    case(experts=3, top_k=3, hidden=4, balance=0.0, z_loss=0.0, renormalize=True),
    case(experts=4, top_k=2, hidden=3, shared=5, shared_combine="mean", balance=1.0),
    case(experts=4, top_k=2, hidden=3, shared=5, shared_combine="gated", z_loss=0.0),
    case(experts=4, top_k=2, hidden=3, shared=5, shared_combine="sum", balance=0.0),
]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "moe.json"), "w") as f:
    head = {"made_by": "make_moe.py, PyTorch " + torch.__version__, "batch": B, "context": T, "width": D,
            "layer": LAYER, "depth": DEPTH}
    f.write(json.dumps(head)[:-1] + ',\n"cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")

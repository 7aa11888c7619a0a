#!/usr/bin/env python3
"""distill.json and on_policy.json: losses and gradients of distillation by PyTorch in f64, of inputs that follow from a
formula."""
import json
import math
import os

import torch

torch.set_default_dtype(torch.float64)


def write(name, rows):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(json.loads(json.dumps(r), parse_float=lambda s: float("%.9g" % float(s))))
                                   for r in rows) + "\n]\n")


def made(rows, cols, seed, size):
    """x[i] = size sin(seed + 1.7 i + 0.3 i^2 / n) in row-major order; tests/train/distill.lua makes the same."""
    n = rows * cols
    return torch.tensor([size * math.sin(seed + 1.7 * i + 0.3 * i * i / n) for i in range(n)]).reshape(rows, cols)


def kept_of(p, top_k, top_p):
    """The teacher's classes that are kept, one row of booleans a token."""
    kept = torch.zeros_like(p, dtype=torch.bool)
    for t in range(p.shape[0]):
        order = sorted(range(p.shape[1]), key=lambda v: (-p[t, v].item(), v))
        mass, n = 0.0, 0
        while n < len(order) and (n < top_k if top_k else mass < top_p):
            mass += p[t, order[n]].item()
            n += 1
        kept[t, order[:n]] = True
    return kept


def coarse(p, kept):
    """Kept classes, and all others as one."""
    return torch.cat([torch.where(kept, p, torch.zeros_like(p)),
                      torch.where(kept, torch.zeros_like(p), p).sum(-1, keepdim=True)], -1)


def kl(a, b):
    return torch.where(a > 0, a * (a.clamp_min(1e-300).log() - b.clamp_min(1e-300).log()), torch.zeros_like(a)).sum(-1)


DIVERGENCES = {
    "forward_kl": lambda p, q, o: kl(p, q),
    "reverse_kl": lambda p, q, o: kl(q, p),
    "jsd": lambda p, q, o: o["beta"] * kl(p, o["beta"] * p + (1 - o["beta"]) * q)
    + (1 - o["beta"]) * kl(q, o["beta"] * p + (1 - o["beta"]) * q),
    "skewed_kl": lambda p, q, o: kl(q, (1 - o["alpha"]) * p + o["alpha"] * q) if o.get("reverse")
    else kl(p, o["alpha"] * p + (1 - o["alpha"]) * q),
    "total_variation": lambda p, q, o: 0.5 * (p - q).abs().sum(-1),
    "soft_ce": lambda p, q, o: -(p * q.clamp_min(1e-300).log()).sum(-1),
}


def capped(z, cap):
    return cap * torch.tanh(z / cap) if cap else z


def case(name, options, classes=11, temperature=1, top_k=0, top_p=0, cap=0, teacher_cap=0, size=0.9):
    tokens, width, teacher_width = 5, 4, 6
    x, w = made(tokens, width, 1, size).requires_grad_(), made(classes, width, 2, size).requires_grad_()
    tx, tw = made(tokens, teacher_width, 3, size), made(classes, teacher_width, 4, size)
    targets = [(7 * t + 3) % classes if t != 2 else -1 for t in range(tokens)]
    dce, dkd = made(1, tokens, 5, 1)[0], made(1, tokens, 6, 1)[0]
    counts = torch.tensor([float(t >= 0) for t in targets])
    z, u = capped(x @ w.T, cap), capped(tx @ tw.T, teacher_cap)
    ce = torch.nn.functional.cross_entropy(z, torch.tensor([max(t, 0) for t in targets]), reduction="none") * counts
    p, q = torch.softmax(u / temperature, -1), torch.softmax(z / temperature, -1)
    if top_k or top_p:
        kept = kept_of(p, top_k, top_p)
        p, q = coarse(p, kept), coarse(q, kept)
    kd = DIVERGENCES[name](p, q, options) * counts
    (ce @ dce + kd @ dkd).backward()
    return {
        "name": name, "options": options, "classes": classes, "temperature": temperature, "top_k": top_k,
        "top_p": top_p, "cap": cap, "teacher_cap": teacher_cap, "size": size,
        "ce": ce.tolist(), "kd": kd.tolist(), "dx": x.grad.flatten().tolist(),
        "dw": [(w.grad * made(classes, width, 7 + k, 1)).sum().item() for k in range(4)],
        "dw_norm": w.grad.norm().item(),
    }


ALL = [("forward_kl", {}), ("reverse_kl", {}), ("jsd", {"beta": 0.5}), ("jsd", {"beta": 0.1}),
       ("skewed_kl", {"alpha": 0.1}), ("skewed_kl", {"alpha": 0.3, "reverse": True}), ("total_variation", {}),
       ("soft_ce", {})]

cases = [case(name, options) for name, options in ALL]
cases += [case(name, options, temperature=2.5) for name, options in ALL[:3]]
cases += [case(name, options, top_k=3) for name, options in ALL]
cases += [case("forward_kl", {}, top_k=11), case("forward_kl", {}, top_p=0.5), case("jsd", {"beta": 0.5}, top_p=0.8),
          case("forward_kl", {}, top_k=4, temperature=2), case("forward_kl", {}, cap=1.5, teacher_cap=2),
          case("reverse_kl", {}, cap=1.5, top_k=3, temperature=0.5), case("forward_kl", {}, classes=1200, size=2),
          case("jsd", {"beta": 0.3}, classes=1200, top_k=600, size=2),
          case("reverse_kl", {}, classes=1200, top_p=0.9, size=2)]
write("distill.json", cases)


def on_policy_case(name, options, weight, ce_weight):
    """Three rows of four tokens, of which the second is a sample behind a prompt of two: its prompt is no target, and
    its cross-entropy is not learned from. GKD (Agarwal et al., 2024), algorithm 1, with the loss of the text beside."""
    rows, context, classes = 3, 4, 11
    n = rows * context
    x, w = made(n, 4, 1, 0.9).requires_grad_(), made(classes, 4, 2, 0.9).requires_grad_()
    tx, tw = made(n, 6, 3, 0.9), made(classes, 6, 4, 0.9)
    targets = [(5 * t + 2) % classes for t in range(n)]
    targets[4], targets[11] = -1, -1
    text = torch.tensor([1.0, 0.0, 1.0])
    counts, of_text = torch.tensor([float(t >= 0) for t in targets]), text.repeat_interleave(context)
    z, u = x @ w.T, tx @ tw.T
    ce = torch.nn.functional.cross_entropy(z, torch.tensor(targets), reduction="none", ignore_index=-1)
    kd = DIVERGENCES[name](torch.softmax(u, -1), torch.softmax(z, -1), options) * counts
    total = weight * kd.sum() + ce_weight * (ce * of_text).sum()
    total.backward()
    return {
        "name": name, "options": options, "rows": rows, "targets": targets, "text": text.tolist(), "weight": weight,
        "ce_weight": ce_weight, "total": total.item(), "divergence": kd.tolist(), "dx": x.grad.flatten().tolist(),
        "dw": w.grad.flatten().tolist(), "sampled": ((1 - of_text) * counts).tolist(),
    }


write("on_policy.json", [on_policy_case(name, options, 0.7, 0.4) for name, options in ALL])

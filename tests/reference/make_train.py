#!/usr/bin/python3
"""make_train.py - writes train.json: 20 AdamW steps of a small Llama in PyTorch, and what came out of each.

    /usr/bin/python3 make_train.py        (Debian's python3-torch; nothing else)

Model, weights and tokens are those of tests/train/tiny.h, made from the same integer hash. Row n of the training is the
text from n * STRIDE, with 0 as its first token and as its last target (so that rows may follow each other in any order
in one stream). Everything is computed in f64, so that the figures are those of the mathematics; Sonde's f32 is held
against them.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

VOCAB, WIDTH, HEADS, KV_HEADS, DEPTH, HIDDEN, CONTEXT, TEXT = 61, 24, 3, 1, 2, 40, 16, 3000
BATCH, STRIDE, STEPS, WARMUP, LR, MIN_RATIO, DECAY, CLIP = 4, 37, 20, 4, 1e-2, 0.1, 0.1, 1.0
MASK = 0xFFFFFFFF


def hashed(seed, i):
    h = (seed + i) & MASK
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & MASK
    h = ((h ^ (h >> 15)) * 0x846CA68B) & MASK
    return ((h ^ (h >> 16)) >> 8) / 16777216.0


def make_text(n, seed):
    text = []
    for i in range(n):
        free = int(hashed(seed, i) * VOCAB)
        text.append((text[-1] * 7 + 3) % VOCAB if i and hashed(seed + 77, i) < 0.75 else free)
    return torch.tensor(text)


class Tiny:
    """The model; `params` in the order in which tiny.h makes them."""

    def __init__(self):
        self.params = {}
        self.param("embed", VOCAB, WIDTH)
        kv = KV_HEADS * (WIDTH // HEADS)
        for b in range(DEPTH):
            for name, shape in (("norm1", (WIDTH,)), ("q", (WIDTH, WIDTH)), ("k", (kv, WIDTH)), ("v", (kv, WIDTH)),
                                ("o", (WIDTH, WIDTH)), ("norm2", (WIDTH,)), ("gate", (HIDDEN, WIDTH)),
                                ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
                self.param(f"blocks.{b}.{name}", *shape)
        self.param("norm", WIDTH)
        self.param("head", VOCAB, WIDTH)

    def param(self, name, *shape):
        seed = (1000003 * (len(self.params) + 1)) & MASK
        if len(shape) == 1:
            value = torch.ones(shape, dtype=torch.float64)
        else:
            numbers = [0.2 * hashed(seed, i) - 0.1 for i in range(math.prod(shape))]
            value = torch.tensor(numbers, dtype=torch.float32).double().reshape(shape)
        self.params[name] = value.requires_grad_()

    def norm(self, x, gain):
        return gain * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)

    def rope(self, x):
        """x [B, T, H, Dh]: halves rotated."""
        half = x.shape[-1] // 2
        frequency = 1e4 ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequency
        cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x, p):
        b, t, _ = x.shape
        head = WIDTH // HEADS
        q = self.rope((x @ p["q"].T).reshape(b, t, HEADS, head))
        k = self.rope((x @ p["k"].T).reshape(b, t, KV_HEADS, head)).expand(b, t, HEADS, head)
        v = (x @ p["v"].T).reshape(b, t, KV_HEADS, head).expand(b, t, HEADS, head)
        score = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(head)
        score = score.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
        y = torch.einsum("bhts,bshd->bthd", score.softmax(-1), v)
        return y.reshape(b, t, WIDTH) @ p["o"].T

    def loss(self, tokens, targets):
        """Per-token losses, and the output of each block."""
        x, outputs = self.params["embed"][tokens], []
        for b in range(DEPTH):
            p = {k.split(".")[2]: v for k, v in self.params.items() if k.startswith(f"blocks.{b}.")}
            x = x + self.attention(self.norm(x, p["norm1"]), p)
            h = self.norm(x, p["norm2"])
            x = x + (F.silu(h @ p["gate"].T) * (h @ p["up"].T)) @ p["down"].T
            outputs.append(x)
        logits = self.norm(x, self.params["norm"]) @ self.params["head"].T
        return F.cross_entropy(logits.reshape(-1, VOCAB), targets.reshape(-1), reduction="none"), outputs


def rate(step):
    if step < WARMUP:
        return LR * step / WARMUP
    t = (step - WARMUP) / (STEPS - WARMUP)
    return LR * (MIN_RATIO + (1 - MIN_RATIO) * 0.5 * (1 + math.cos(math.pi * t)))


def main():
    text, model = make_text(TEXT, 11), Tiny()
    decayed = [p for n, p in model.params.items() if p.dim() > 1 and n != "embed"]
    other = [p for n, p in model.params.items() if p.dim() == 1 or n == "embed"]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": other, "weight_decay": 0.0}],
                                  betas=(0.9, 0.95), eps=1e-8)
    steps, zero = [], torch.zeros(1, dtype=torch.int64)
    for step in range(1, STEPS + 1):
        rows = [(((step - 1) * BATCH + k) * STRIDE) % (TEXT - CONTEXT - 1) for k in range(BATCH)]
        tokens = torch.stack([torch.cat([zero, text[r + 1:r + CONTEXT]]) for r in rows])
        targets = torch.cat([tokens[:, 1:], zero.expand(BATCH, 1)], 1)
        losses, outputs = model.loss(tokens, targets)
        optimizer.zero_grad()
        losses.mean().backward()
        blocks = [math.sqrt(sum(float((p.grad ** 2).sum()) for n, p in model.params.items()
            if n.startswith(f"blocks.{b}.")))
                  for b in range(DEPTH)]
        norm = torch.nn.utils.clip_grad_norm_(list(model.params.values()), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        before = {n: p.detach().clone() for n, p in model.params.items()}
        optimizer.step()

        def length(b, of):
            return math.sqrt(sum(float((of(n) ** 2).sum()) for n in before if n.startswith(f"blocks.{b}.")))

        ratios = [length(b, lambda n: model.params[n].detach() - before[n]) / length(b, before.get)
            for b in range(DEPTH)]
        steps.append({"loss": float(losses.mean()), "lr": rate(step), "grad_norm": float(norm),
            "block_grad_norm": blocks, "block_update_ratio": ratios,
                      "block_variance": [float(y.var(-1, unbiased=True).mean()) for y in outputs]})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train.json")
    with open(path, "w") as f:
        json.dump({"made_by": "make_train.py", "torch": torch.__version__, "batch": BATCH, "stride": STRIDE,
            "steps": steps}, f, indent=1)
        f.write("\n")


main()

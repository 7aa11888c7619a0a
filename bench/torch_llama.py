#!/usr/bin/python3
"""The models of `sonde bench` in PyTorch, as its fair peer: a plain Llama (RMSNorm, RoPE, SwiGLU, causal softmax
attention, untied head). Training (forward, backward and AdamW on random tokens of a fixed seed), attention alone, or
generation with a key-value cache. Prints one JSON object.

Runs on PyTorch 1.13 and later (Debian 12 has 1.13, Debian 13 has 2.6) and uses what a version has: its fused AdamW, its
rms_norm, and of explicit and fused attention whichever is faster here for the shape and dtype, which is measured first.
`bench/compare` sets the environment in which it is fastest (OpenMP OpenBLAS, AVX-512 kernels, an allocator that keeps
its pages); run by hand it uses the environment of the shell.
"""
import argparse
import functools
import json
import math
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F

# width, heads, depth, ffn, vocabulary, context, batch: the same as in lua/sonde/bench.lua
CONFIGS = {
    "a": (128, 4, 4, 352, 8192, 256, 8),
    "b": (256, 4, 4, 688, 8192, 256, 8),
    "c": (256, 4, 24, 688, 8192, 256, 4),
    "d": (512, 8, 8, 1376, 8192, 512, 4),
    "e": (768, 12, 12, 2048, 32000, 256, 2),
}

PROMPT = 16        # tokens in front of those that are generated


class RMSNorm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, x.shape[-1:], self.gain, 1e-6)
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.gain


def rotate(x, cos, sin):
    """Rotary embedding of [B, H, T, D], halves rotated as in Llama."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos + turned * sin


@functools.lru_cache
def causal_mask(t, dtype):
    return torch.full((t, t), -math.inf, dtype=dtype).triu(1)


def explicit_attention(q, k, v):
    t, d = q.shape[-2:]
    return torch.softmax(q @ k.transpose(-2, -1) * (1 / math.sqrt(d)) + causal_mask(t, q.dtype), -1) @ v


def fused_attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def time_attention(attention, shape, dtype, steps=3):
    """Seconds of a forward and backward pass, the best of a few."""
    q, k, v, grad = (torch.randn(shape, dtype=dtype) for _ in range(4))
    best = math.inf
    for _ in range(steps):
        for x in (q, k, v):
            x.grad = None
            x.requires_grad_(True)
        start = time.perf_counter()
        attention(q, k, v).backward(grad)
        best = min(best, time.perf_counter() - start)
    return best


def faster_attention(shape, dtype):
    """The faster of this version's attentions for [B, H, T, D]."""
    if not hasattr(F, "scaled_dot_product_attention"):
        return explicit_attention
    return min((explicit_attention, fused_attention), key=lambda attention: time_attention(attention, shape, dtype))


def adamw(parameters, **options):
    """AdamW in one kernel where this version has that for a CPU."""
    try:
        return torch.optim.AdamW(parameters, fused=True, **options)
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, **options)


class Block(torch.nn.Module):
    def __init__(self, width, heads, ffn, attend):
        super().__init__()
        self.heads, self.attend = heads, attend
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (torch.nn.Linear(width, ffn, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(ffn, width, bias=False)

    def attention(self, x, cos, sin):
        b, t, d = x.shape
        q, k, v = (w(x).view(b, t, self.heads, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        return self.o(self.attend(q, k, v).transpose(1, 2).reshape(b, t, d))

    def ffn(self, x):
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    def forward(self, x, cos, sin):
        return self.ffn(x + self.attention(self.norm1(x), cos, sin))

    def decode(self, x, cos, sin, cache, at):
        """One token [1, D] at position `at`; cache: keys and values [H, T, D/H], filled up to there."""
        h, heads = self.norm1(x), self.heads
        q, k, v = (w(h).view(heads, 1, -1) for w in (self.q, self.k, self.v))
        cache[0][:, at:at + 1] = rotate(k, cos[at], sin[at])
        cache[1][:, at:at + 1] = v
        scores = rotate(q, cos[at], sin[at]) @ cache[0][:, :at + 1].transpose(-2, -1) * q.shape[-1] ** -0.5
        return self.ffn(x + self.o((torch.softmax(scores, -1) @ cache[1][:, :at + 1]).reshape(1, -1)))


class Llama(torch.nn.Module):
    def __init__(self, width, heads, depth, ffn, vocab, context, attend=explicit_attention):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads, ffn, attend) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = torch.nn.Linear(width, vocab, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, std=0.02)
        size = width // heads
        angle = torch.arange(context)[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))

    def decode(self, token, cache, at):
        x = self.embedding(token)
        for block, own in zip(self.blocks, cache):
            x = block.decode(x, self.cos, self.sin, own, at)
        return self.head(self.norm(x))


def train(args):
    width, heads, depth, ffn, vocab, context, batch = CONFIGS[args.config]
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    attend = faster_attention((batch, heads, context, width // heads),
                              torch.bfloat16 if args.dtype == "bf16" else torch.float32)
    model = Llama(width, heads, depth, ffn, vocab, context, attend)
    optimizer = adamw(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    times, loss = [], None
    for _ in range(args.steps + args.warmup):
        tokens = torch.randint(vocab, (batch, context + 1))
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            logits = model(tokens[:, :-1])
            loss = F.cross_entropy(logits.view(-1, vocab), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    params = sum(p.numel() for p in model.parameters())
    seconds = statistics.median(times[args.warmup:])
    rate = batch * context / seconds
    flops = 6 * (params - model.embedding.weight.numel()) + 12 * depth * width * context
    return {
        "system": "pytorch " + torch.__version__, "config": args.config, "dtype": args.dtype, "threads": args.threads,
        "params": params, "tokens_per_s": round(rate, 1), "ms_per_step": round(seconds * 1e3, 3),
        "gflops": round(rate * flops / 1e9, 1),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "loss": round(float(loss), 6), "attention": attend.__name__,
    }


def attention(args):
    """Attention alone, forward and backward, T 1024, 8 heads of 64, batch 2."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    b, h, t, d = 2, 8, 1024, 64
    q, k, v, grad = (torch.randn(b, h, t, d, dtype=dtype) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_(True)
    attend, times = faster_attention((b, h, t, d), dtype), []
    for _ in range(args.steps + args.warmup):
        start = time.perf_counter()
        attend(q, k, v).backward(grad)
        times.append(time.perf_counter() - start)
        for x in (q, k, v):
            x.grad = None
    return {"system": "pytorch " + torch.__version__, "what": "attention", "dtype": args.dtype, "threads": args.threads,
            "attention": attend.__name__, "ms": round(statistics.median(times[args.warmup:]) * 1e3, 3)}


def generate(args):
    """Greedy, batch 1, weights and cache in the dtype; the prompt is read token by token and not timed."""
    width, heads, depth, ffn, vocab, context, _ = CONFIGS[args.config]
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    model = Llama(width, heads, depth, ffn, vocab, context).to(dtype)
    cache = [torch.zeros(2, heads, context, width // heads, dtype=dtype) for _ in range(depth)]
    token, start = torch.tensor([1]), None
    with torch.inference_mode():
        for at in range(PROMPT + args.tokens):
            if at == PROMPT:
                start = time.perf_counter()
            token = model.decode(token, cache, at).argmax(-1)
    rate = args.tokens / (time.perf_counter() - start)
    return {"system": "pytorch " + torch.__version__, "what": "generate", "config": args.config, "dtype": args.dtype,
            "threads": args.threads, "tokens_per_s": round(rate, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=sorted(CONFIGS), default="b")
    parser.add_argument("--what", choices=("train", "attention", "generate"), default="train")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=128, help="that are generated")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    json.dump({"train": train, "attention": attention, "generate": generate}[args.what](args), sys.stdout)
    print()


if __name__ == "__main__":
    main()

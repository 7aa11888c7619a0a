#!/usr/bin/python3
"""One trial of experiments/depth_sweep.lua at demo scale in PyTorch: an independent check of its perplexities.

Same text, model, initialisation rule, optimizer and schedule, but other random numbers and other code, so the figures
agree up to the spread between seeds. The text is a corpus folder that Sonde made (train.tok, validation.tok); its
place is printed when the corpus is made, or is found under ~/.cache/sonde.
"""
import argparse
import math
import struct
import types

import numpy
import torch
import torch.nn.functional as F

import torch_llama

VOCAB, WIDTH, HEADS, FFN, CONTEXT, BATCH = 2048, 64, 4, 176, 64, 8
TOKENS, RATE, LAST, WARMUP, DECAY, STD, VALIDATION = 256000, 3e-3, 0.1, 0.05, 0.1, 0.02, 32768


def read_tokens(path):
    """Token ids of a shard: a header of 256 bytes (magic, version, bytes a token, tokens, ..), then the ids."""
    data = open(path, "rb").read()
    magic, _, width, tokens = struct.unpack("<8sIIq", data[:24])
    assert magic == b"SONDETOK" and width == 2, path + " is no shard of 16-bit tokens"
    return torch.from_numpy(numpy.frombuffer(data, "<u2", tokens, 256).astype("int64"))


def ffn(block, x):
    return block.down(F.silu(block.gate(x)) * block.up(x))


def forward_of(placement, layer, depth):
    """The forward function of block `layer` (from 1) under a placement, by the formulas of
    lua/sonde/model/placement.lua."""
    scale = 1 / math.sqrt(layer) if placement == "lns" else 1.0
    alpha = (2 * depth) ** 0.25 if placement == "deepnorm" else 1.0
    after = placement in ("post_ln", "deepnorm") or (placement == "mix_ln" and layer <= depth // 4)

    def norm_after(self, x, cos, sin):
        x = self.norm1(alpha * x + self.attention(x, cos, sin))
        return self.norm2(alpha * x + ffn(self, x))

    def norm_before(self, x, cos, sin):
        x = x + self.attention(scale * self.norm1(x), cos, sin)
        return x + ffn(self, scale * self.norm2(x))

    return norm_after if after else norm_before


def make_model(placement, depth):
    model = torch_llama.Llama(WIDTH, HEADS, depth, FFN, VOCAB, CONTEXT)
    for k, block in enumerate(model.blocks):
        block.forward = types.MethodType(forward_of(placement, k + 1, depth), block)
    for p in model.parameters():
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=STD)
    if placement == "deepnorm":
        beta = (8 * depth) ** -0.25
        for block in model.blocks:
            for matrix in (block.q, block.k):
                torch.nn.init.xavier_normal_(matrix.weight)
            for matrix in (block.v, block.o, block.gate, block.up, block.down):
                torch.nn.init.xavier_normal_(matrix.weight, gain=beta)
    return model


def rate_at(step, steps, warmup):
    if step < warmup:
        return RATE * (step + 1) / warmup
    turn = (step - warmup) / max(1, steps - warmup)
    return RATE * (LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * turn)))


def train(model, tokens):
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("embedding")]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or n.startswith("embedding")]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}],
                                  lr=RATE, betas=(0.9, 0.95))
    steps = TOKENS // (BATCH * CONTEXT)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, round(WARMUP * steps))
        rows = torch.stack([tokens[k:k + CONTEXT + 1] for k in torch.randint(len(tokens) - CONTEXT - 1, (BATCH,))])
        loss = F.cross_entropy(model(rows[:, :-1]).reshape(-1, VOCAB), rows[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def perplexity(model, tokens):
    losses = []
    for first in range(0, VALIDATION, CONTEXT * CONTEXT):
        rows = torch.stack([tokens[k:k + CONTEXT + 1] for k in range(first, first + CONTEXT * CONTEXT, CONTEXT)])
        losses.append(F.cross_entropy(model(rows[:, :-1]).reshape(-1, VOCAB), rows[:, 1:].reshape(-1)))
    return math.exp(torch.stack(losses).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="folder with train.tok and validation.tok of a vocabulary of %d" % VOCAB)
    parser.add_argument("--placement", choices=("pre_ln", "post_ln", "deepnorm", "mix_ln", "lns"), default="pre_ln")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = make_model(args.placement, args.depth)
    train(model, read_tokens(args.corpus + "/train.tok"))
    print("%s depth %d seed %d: perplexity %.2f" % (args.placement, args.depth, args.seed,
          perplexity(model, read_tokens(args.corpus + "/validation.tok"))))


if __name__ == "__main__":
    main()

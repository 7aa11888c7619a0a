#!/usr/bin/python3
"""make_norms.py - writes norms.json: what PyTorch says about small models of every norm and placement.

    /usr/bin/python3 make_norms.py          (Debian's python3-torch; nothing else)

A model has two blocks, grouped queries (four heads, two of keys and values) and a head of its own. Its parameters are
not stored: both sides make them from their names by the same integer hash (see `numbers`). PyTorch computes in f64.
Of each case the file keeps the loss of every token and, for every parameter in the order of the names, its
gradient's inner product with generated numbers and its norm; the same of the gradients by what is inside, the stream
after each block and the result of each norm in it; and, of the cases that name no norm, what four probes measure on
the same tokens (doc/probes.md has the definitions).
"""
import json
import math
import os
import sys
import zlib

import torch
import torch.nn.functional as F

VOCAB, WIDTH, HEADS, KV, HIDDEN, DEPTH = 13, 8, 4, 2, 12, 2
BATCH, LENGTH, CONTEXT = 2, 5, 7       # CONTEXT: of the training, which BHyT reckons with
HEAD = WIDTH // HEADS


def numbers(name, shape, lo, hi):
    """Numbers in [lo, hi) from a 32-bit mixing hash of (name, index)."""
    mask = 0xFFFFFFFF
    h = (torch.arange(math.prod(shape), dtype=torch.int64) + zlib.crc32(name.encode())) & mask
    for factor, shift in ((0x7FEB352D, 16), (0x846CA68B, 15)):
        h = h ^ (h >> shift)
        h = (h * factor) & mask
    u = ((h ^ (h >> 16)) >> 8).double() / 2 ** 24
    return (lo + (hi - lo) * u).float().double().reshape(shape)


def root_mean_square(x, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


class Model:
    """One case: options as in Sonde, parameters made as they are asked for."""

    def __init__(self, norm="rmsnorm", placement="pre_ln", attention=None):
        self.norm = dict(norm if isinstance(norm, dict) else {"name": norm})
        self.placement = dict(placement if isinstance(placement, dict) else {"name": placement})
        self.qk_norm = bool(attention)
        self.params = {}
        self.inner, self.added = {}, {}         # name -> value

    def param(self, name, *shape, lo=-0.5, hi=0.5):
        if name not in self.params:
            self.params[name] = numbers(name, shape, lo, hi).requires_grad_()
        return self.params[name]

    def gain(self, name, *shape):
        return self.param(name, *shape, lo=0.5, hi=1.5)

    # ---- norms: prefix is the parameters', slot the place in the block

    def layernorm(self, x, prefix, slot, block):
        bias = self.param(prefix + "bias", WIDTH) if self.norm.get("bias", True) else 0
        centred = x - x.mean(-1, keepdim=True)
        return root_mean_square(centred, 1e-5) * self.gain(prefix + "weight", WIDTH) + bias

    def rmsnorm(self, x, prefix, slot, block):
        return root_mean_square(x, 1e-6) * self.gain(prefix + "weight", WIDTH)

    def dyt(self, x, prefix, slot, block):
        bias = self.param(prefix + "bias", WIDTH) if self.norm.get("bias") else 0
        return torch.tanh(self.gain(prefix + "alpha", 1) * x) * self.gain(prefix + "weight", WIDTH) + bias

    def derf(self, x, prefix, slot, block):
        z = self.gain(prefix + "alpha", 1) * x + self.param(prefix + "shift", 1)
        return torch.erf(z) * self.gain(prefix + "weight", WIDTH) + self.param(prefix + "bias", WIDTH)

    def bhyt(self, x, prefix, slot, block):
        l = block["index"] + 1 if block else DEPTH + 1
        power = {"none": 0, "decay": -0.5, "grow": 0.5, "mild_grow": 0.25}[self.norm.get("kappa_schedule", "none")]
        kappa = self.norm.get("kappa", 10) * l ** power
        star = self.norm["name"] == "bhyt_star" or l <= self.norm.get("exact_first", 0) or (
            str(l - 1) in self.norm.get("exact_blocks", "").split(","))
        if slot == "final" and not self.norm.get("lambda_final", 0):
            return self.rmsnorm(x, prefix, slot, block)
        lam = self.gain(prefix + "lambda", 1)
        variance = (x * x).mean(-1, keepdim=True)
        if slot == "attn":
            block.update(x=x, variance=variance, lam=lam)
        elif slot == "ffn" and not star and "branch" in block:
            lam1 = block["lam"].detach() * block.get("factor", 1)
            added, method = lam1 ** 2 / kappa ** 2, self.norm.get("variance", "plain")
            if method == "eta":
                variance = block["variance"] * (1 + self.gain(prefix + "variance_eta", 1))
            else:
                added, variance = added * self.attention_variance(block["index"]), block["variance"]
                if method == "beta":
                    added = added * self.gain(prefix + "variance_beta", 1)
                if method == "residual_aware":
                    variance = variance * (1 + self.gain(prefix + "variance_beta", 1))
                    added = added * self.gain(prefix + "variance_alpha", 1)
                variance = variance + added
        elif slot == "ffn" and not star and block.get("x") is x:
            variance = block["variance"]
        return torch.tanh(lam / kappa * x / torch.sqrt(variance + 1e-6)) * self.gain(prefix + "weight", WIDTH)

    bhyt_star = bhyt

    def attention_variance(self, index):
        at = f"model.layers.{index}.self_attn."
        v, o = self.params[at + "v_proj.weight"].detach(), self.params[at + "o_proj.weight"].detach()
        v = v.reshape(KV, HEAD, WIDTH).repeat_interleave(HEADS // KV, dim=0).reshape(HEADS * HEAD, WIDTH)
        return torch.linalg.matrix_norm(o @ v) ** 2 / (CONTEXT * WIDTH)

    def apply_norm(self, x, prefix, slot, block):
        return getattr(self, self.norm["name"])(x, prefix, slot, block)

    # ---- branches

    def attention(self, x, index):
        at = f"model.layers.{index}.self_attn."
        q = (x @ self.param(at + "q_proj.weight", HEADS * HEAD, WIDTH).T).reshape(BATCH, LENGTH, HEADS, HEAD)
        k = (x @ self.param(at + "k_proj.weight", KV * HEAD, WIDTH).T).reshape(BATCH, LENGTH, KV, HEAD)
        v = (x @ self.param(at + "v_proj.weight", KV * HEAD, WIDTH).T).reshape(BATCH, LENGTH, KV, HEAD)
        if self.qk_norm:
            q = root_mean_square(q, 1e-6) * self.gain(at + "q_norm.weight", HEAD)
            k = root_mean_square(k, 1e-6) * self.gain(at + "k_norm.weight", HEAD)
        angle = torch.arange(LENGTH).double()[:, None] * 10000.0 ** (-torch.arange(0, HEAD, 2).double() / HEAD)
        cos, sin = (torch.cat([f(angle)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))
        q, k = (z * cos + torch.cat([-z[..., HEAD // 2:], z[..., :HEAD // 2]], -1) * sin for z in (q, k))
        q, k, v = (z.repeat_interleave(HEADS // z.shape[2], dim=2).transpose(1, 2) for z in (q, k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
        scores = scores.masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -math.inf)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(BATCH, LENGTH, HEADS * HEAD)
        return out @ self.param(at + "o_proj.weight", WIDTH, HEADS * HEAD).T

    def ffn(self, x, index):
        at = f"model.layers.{index}.mlp."
        gate = x @ self.param(at + "gate_proj.weight", HIDDEN, WIDTH).T
        up = x @ self.param(at + "up_proj.weight", HIDDEN, WIDTH).T
        return (F.silu(gate) * up) @ self.param(at + "down_proj.weight", WIDTH, HIDDEN).T

    # ---- placements

    def block(self, x, index):
        at, name, options = f"model.layers.{index}.", self.placement["name"], self.placement
        shared = {"index": index}
        names = {"attn": "input_layernorm.", "ffn": "post_attention_layernorm.",
                 "attn_out": "post_self_attn_layernorm.", "ffn_out": "post_mlp_layernorm."}
        branch = {"attn": lambda z: self.attention(z, index), "ffn": lambda z: self.ffn(z, index)}

        def norm(slot, z, factor=None):
            y = self.apply_norm(z, at + names[slot], slot, shared)
            y = y if factor is None else y * factor
            self.inner[f"blocks.{index} {slot}"] = y
            return y

        def add(slot, z):
            self.added[f"blocks.{index} {slot}"] = z
            return z

        scale = (index + 1) ** -0.5
        if name == "mix_ln":
            name = "post_ln" if index < math.floor(options["a"] * DEPTH) else "pre_ln"
        if name == "scale_post_pre":
            name = "post_ln" if index < math.floor(options["a"] * DEPTH) else "pre_ln"
        if name in ("pre_post_pre_post", "post_pre_post_pre"):
            fourth = (index + 1) % options["every"] == 0
            name = "post_ln" if fourth == (name == "pre_post_pre_post") else "pre_ln"
        if name in ("pre_post", "pre_sandwich"):
            name = "pre_ln" if index < options["first"] else {"pre_post": "post_ln", "pre_sandwich": "sandwich"}[name]
        if name == "linear":
            map_ = self.param(at + "placement.weight", WIDTH, WIDTH)
            return x + x @ map_.T + self.param(at + "placement.bias", WIDTH)
        if name == "parallel":
            one = norm("attn", x)
            attn = add("attn", branch["attn"](one))
            return x + attn + add("ffn", branch["ffn"](one if options.get("shared", True) else norm("ffn", x)))
        for slot in ("attn", "ffn"):
            if name in ("pre_ln", "pre_ln_scaled", "pre_ln_mitchell", "pre_ln_megatron"):
                y = add(slot, branch[slot](norm(slot, x)))
                shared["branch"] = y
                x = x + y
            elif name == "lns":
                shared["factor"] = scale
                y = add(slot, branch[slot](norm(slot, x, scale)))
                shared["branch"] = y
                x = x + y
            elif name == "post_ln":
                x = norm(slot + "_out", x + add(slot, branch[slot](x)))
            elif name in ("deepnorm", "deepnorm_paper"):
                alpha = (2 * DEPTH) ** 0.25 if name == "deepnorm" else 2.828427
                x = norm(slot + "_out", alpha * x + add(slot, branch[slot](x)))
            elif name == "norm_after":
                x = x + add(slot, norm(slot + "_out", branch[slot](x)))
            elif name == "keel":
                y = add(slot, branch[slot](norm(slot, x)))
                alpha = options.get("alpha", 0) or 2 * DEPTH
                shared["branch"] = y
                x = x + y if index == 0 and slot == "attn" else norm(slot + "_out", alpha * x + y)
                if index or slot == "ffn":
                    del shared["branch"]
            elif name in ("sandwich", "peri_ln"):
                x = x + add(slot, norm(slot + "_out", branch[slot](norm(slot, x))))
            elif name == "lns_sandwich":
                after = scale if options.get("both", True) else None
                x = x + add(slot, norm(slot + "_out", branch[slot](norm(slot, x, scale)), after))
            elif name in ("layerscale", "skipinit"):
                size = WIDTH if name == "layerscale" else 1
                x = x + add(slot, self.gain(at + f"placement.{slot}_scale", size) * branch[slot](norm(slot, x)))
            else:
                raise ValueError(name)
        return x

    def losses(self, targets):
        tokens = torch.arange(BATCH * LENGTH) * 7 % VOCAB
        x = self.param("model.embed_tokens.weight", VOCAB, WIDTH)[tokens].reshape(BATCH, LENGTH, WIDTH)
        if self.norm["name"] == "dyt":
            x = x * self.gain("model.embed_scale", 1)
        self.inner["embedding"] = x
        for index in range(DEPTH):
            x = self.block(x, index)
            self.inner[f"blocks.{index}.out"] = x
        x = self.apply_norm(x, "model.norm.", "final", {})
        logits = x.reshape(-1, WIDTH) @ self.param("lm_head.weight", VOCAB, WIDTH).T
        return F.cross_entropy(logits, targets, reduction="none")


def short(v):
    return float("%.9g" % v)


def sizes(names, grads):
    weights = [numbers("weight of " + n, g.shape, -1, 1) for n, g in zip(names, grads)]
    return [[short((g * w).sum().item()), short(g.norm().item())] for g, w in zip(grads, weights)]


def probes(model):
    """jacobian, gradient_norm, attn_variance and ffn_variance on windows of the case's tokens, each the target of its
    predecessor."""
    ids = torch.arange(BATCH * LENGTH + 1) * 7 % VOCAB
    loss = model.losses(ids[1:]).reshape(BATCH, LENGTH).mean(1)
    inputs = [model.inner[n] for n in ["embedding"] + [f"blocks.{i}.out" for i in range(DEPTH - 1)]]
    found = {"gradient_norm": [short(g.flatten(1).norm(dim=1).mean().item())
                               for g in torch.autograd.grad(loss.sum(), inputs)]}
    for slot in "attn", "ffn":
        nothing = torch.zeros(BATCH, LENGTH, WIDTH)
        found[slot + "_variance"] = [short(model.added.get(f"blocks.{i} {slot}", nothing).var(-1).mean().item())
                                     for i in range(DEPTH)]
    found["jacobian"] = []
    for i, x in enumerate(inputs):
        j = torch.autograd.functional.jacobian(lambda z: model.block(z, i).sum((0, 1)), x.detach())   # [D, B, T, D]
        j = j.sum((1, 2)) / (BATCH * LENGTH)
        eye, diagonal = torch.eye(WIDTH).double(), j.diagonal()
        off = (j - diagonal.diag()).norm() / math.sqrt(WIDTH * WIDTH - WIDTH)
        found["jacobian"].append([short(v.item()) for v in (
            (j - eye).norm() / WIDTH, off, diagonal.mean(), diagonal.std(), j.norm(), torch.linalg.matrix_norm(j, 2))])
    return found


def case(**options):
    model = Model(**options)
    losses = model.losses((torch.arange(BATCH * LENGTH) * 5 + 3) % VOCAB)
    names = sorted(model.params)
    grads = torch.autograd.grad(losses.sum(), [model.params[n] for n in names], retain_graph=True)
    inner = sorted(model.inner)
    by_inner = torch.autograd.grad(losses.sum(), [model.inner[n] for n in inner])
    made = {**options, "losses": [short(v) for v in losses.tolist()], "gradients": sizes(names, grads),
            "inner": dict(zip(inner, sizes(inner, by_inner)))}
    return made if "norm" in options or "attention" in options else {**made, "probes": probes(model)}


def main():
    named = lambda name, **options: {"name": name, **options}
    norms = ["rmsnorm", "layernorm", named("layernorm", bias=False), "dyt", "bhyt", "bhyt_star",
             named("bhyt", kappa=2.5, lambda_final=3), named("dyt", bias=True), "derf",
             named("bhyt", kappa=2, variance="beta"), named("bhyt", kappa=2, variance="eta"),
             named("bhyt", kappa=2, variance="residual_aware"), named("bhyt", exact_first=1),
             named("bhyt", exact_blocks="1"),
             named("bhyt", kappa=3, kappa_schedule="decay", lambda_final=1), named("bhyt_star", kappa_schedule="grow"),
             named("bhyt", kappa=3, kappa_schedule="mild_grow", lambda_final=1)]
    placements = ["pre_ln", "pre_ln_scaled", "pre_ln_mitchell", "pre_ln_megatron", "post_ln", "deepnorm",
                  "deepnorm_paper", named("mix_ln", a=0.5), "lns", "sandwich", "peri_ln", "lns_sandwich",
                  named("lns_sandwich", both=False), "parallel", named("parallel", shared=False),
                  named("pre_post", first=1), named("pre_sandwich", first=1), "layerscale", "skipinit",
                  "linear", "norm_after", "keel", named("keel", alpha=3), named("scale_post_pre", a=0.5),
                  named("pre_post_pre_post", every=2), named("post_pre_post_pre", every=2)]
    cases = [case(norm=n) for n in norms] + [case(placement=p) for p in placements[1:]]
    cases += [case(norm="bhyt", placement=p) for p in placements[4:]]
    cases += [case(norm="dyt", placement="lns"), case(norm="derf", placement="keel"),
        case(norm="derf", placement="lns"),
              case(norm=named("dyt", bias=True), placement="lns"), case(norm="layernorm", placement="lns_sandwich"),
              case(attention=named("causal", qk_norm=True)), case(norm="bhyt", attention=named("causal", qk_norm=True))]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "norms.json")
    with open(path, "w") as out:
        out.write('{"made_by": "make_norms.py", "torch": "%s", "cases": [\n' % torch.__version__)
        out.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]}\n")
    print(f"{len(cases)} cases, {os.path.getsize(path)} bytes", file=sys.stderr)


main()

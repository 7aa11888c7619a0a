#!/usr/bin/python3
"""make_plugins.py - writes plugins.json: what PyTorch says about the modules and optimizers that Sonde brings.

    /usr/bin/python3 make_plugins.py        (Debian's python3-torch; nothing else)

Inputs are not stored: both sides make them by formula (see `wave`), rounded to f32; PyTorch then computes in f64.
Attention is written out, with the rotation of Hugging Face's Llama; the rest is torch.nn and torch.optim.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

B, T, D = 2, 5, 8


def wave(start, *shape):
    n = math.prod(shape)
    return torch.sin(start + 0.7 * torch.arange(n, dtype=torch.float64)).float().double().reshape(shape)


X = wave(1.0, B, T, D)
modules = []


def case(kind, name, options, shapes, build):
    """Parameter k of the module starts at wave(0.5 + 13 k)."""
    params = {key: wave(0.5 + 13 * k, *shape) for k, (key, shape) in enumerate(shapes.items())}
    y = build(**{key.removesuffix(".weight").replace(".", "_"): value for key, value in params.items()})
    modules.append({"kind": kind, "name": name, "options": options, "params": list(params),
        "y": y.reshape(-1).tolist()})


def rmsnorm(eps):
    return lambda weight: weight * X / torch.sqrt((X * X).mean(-1, keepdim=True) + eps)


def rotate(x, theta):
    """x [B, T, H, Dh]: pair j is (x[j], x[j + Dh/2])."""
    half = x.shape[-1] // 2
    angle = torch.arange(T).double()[:, None] * theta ** (-torch.arange(half).double() / half)
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def causal(heads, kv_heads, head_dim, theta=10000.0, window=0):
    def build(q_proj, k_proj, v_proj, o_proj, q_proj_bias=0, k_proj_bias=0, v_proj_bias=0, o_proj_bias=0):
        q = (X @ q_proj.T + q_proj_bias).reshape(B, T, heads, head_dim)
        k = (X @ k_proj.T + k_proj_bias).reshape(B, T, kv_heads, head_dim)
        v = (X @ v_proj.T + v_proj_bias).reshape(B, T, kv_heads, head_dim)
        if theta:
            q, k = rotate(q, theta), rotate(k, theta)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=2) for t in (k, v))
        score = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(head_dim)
        t, s = torch.arange(T)[:, None], torch.arange(T)[None, :]
        seen = (s <= t) & ((s > t - window) if window else (s <= t))
        p = score.masked_fill(~seen, -math.inf).softmax(-1)
        return torch.einsum("bhts,bshd->bthd", p, v).reshape(B, T, -1) @ o_proj.T + o_proj_bias
    return build


def attention_case(heads, kv_heads, head_dim, options, **more):
    inner, kv = heads * head_dim, kv_heads * head_dim
    shapes = {"q_proj.weight": (inner, D), "k_proj.weight": (kv, D), "v_proj.weight": (kv, D),
              "o_proj.weight": (D, inner)}
    for which in {"qkv": "qkv", "all": "qkvo"}.get(options.get("bias"), ""):
        shapes[f"{which}_proj.bias"] = shapes[f"{which}_proj.weight"][:1]
    case("attention", "causal", options, shapes, causal(heads, kv_heads, head_dim, **more))


activations = {
    "silu": F.silu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "relu": F.relu, "relu2": lambda x: F.relu(x) ** 2,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda x: x, "mish": F.mish,
    "gelu_10": lambda x: F.gelu(x).clamp(-10, 10),
}


def ffn_case(name, options, hidden, act):
    shapes = {"up_proj.weight": (hidden, D), "down_proj.weight": (D, hidden)}
    if name == "swiglu":
        shapes = {"gate_proj.weight": (hidden, D), **shapes}
    case("ffn", name, options, shapes, act)


case("norm", "rmsnorm", {}, {"weight": (D,)}, rmsnorm(1e-6))
case("norm", "rmsnorm", {"eps": 0.5}, {"weight": (D,)}, rmsnorm(0.5))
case("norm", "layernorm", {}, {"weight": (D,), "bias": (D,)},
    lambda weight, bias: F.layer_norm(X, (D,), weight, bias, 1e-5))
case("norm", "layernorm", {"bias": False, "eps": 0.1}, {"weight": (D,)},
    lambda weight: F.layer_norm(X, (D,), weight, None, 0.1))
attention_case(2, 2, 4, {"heads": 2})
attention_case(4, 2, 2, {"heads": 4, "kv_heads": 2, "rope_theta": 100}, theta=100.0)
attention_case(4, 1, 6, {"heads": 4, "kv_heads": 1, "head_dim": 6})
attention_case(1, 1, 8, {"rope_theta": 0, "window": 2}, theta=0, window=2)
attention_case(4, 2, 2, {"heads": 4, "kv_heads": 2, "bias": "qkv"})
attention_case(2, 1, 6, {"heads": 2, "kv_heads": 1, "head_dim": 6, "bias": "all"})
ffn_case("swiglu", {}, 24,
    lambda gate_proj, up_proj, down_proj: (F.silu(X @ gate_proj.T) * (X @ up_proj.T)) @ down_proj.T)
for name, act in activations.items():
    ffn_case("swiglu", {"hidden": 6, "activation": name}, 6,
        lambda gate_proj, up_proj, down_proj: (act(X @ gate_proj.T) * (X @ up_proj.T)) @ down_proj.T)
case("ffn", "swiglu", {"hidden": 6, "activation": "gelu_tanh", "bias": True},
     {f"{which}_proj.{what}": shape for which, out, wide in (("gate", 6, D), ("up", 6, D), ("down", D, 6))
      for what, shape in (("weight", (out, wide)), ("bias", (out,)))},
     lambda gate_proj, gate_proj_bias, up_proj, up_proj_bias, down_proj, down_proj_bias:
     (F.gelu(X @ gate_proj.T + gate_proj_bias, approximate="tanh") * (X @ up_proj.T + up_proj_bias)) @ down_proj.T
     + down_proj_bias)
ffn_case("mlp", {}, 32, lambda up_proj, down_proj: F.gelu(X @ up_proj.T) @ down_proj.T)
for name, act in activations.items():
    ffn_case("mlp", {"hidden": 5, "activation": name}, 5, lambda up_proj, down_proj: act(X @ up_proj.T) @ down_proj.T)
case("ffn", "mlp", {"hidden": 9, "activation": "quick_gelu", "bias": True},
     {"up_proj.weight": (9, D), "up_proj.bias": (9,), "down_proj.weight": (D, 9), "down_proj.bias": (D,)},
     lambda up_proj, up_proj_bias, down_proj, down_proj_bias:
     activations["quick_gelu"](X @ up_proj.T + up_proj_bias) @ down_proj.T + down_proj_bias)



def moe_case(options, experts, top_k, hidden, act=F.silu, renormalize=False, shared=0, combine=None):
    """combine: of the shared expert's result, the routed sum and sigmoid(w x)."""
    def build(gate, experts_gate_proj, experts_up_proj, experts_down_proj, shared_expert_gate_proj=None,
              shared_expert_up_proj=None, shared_expert_down_proj=None, shared_expert_gate=None):
        x = X.reshape(-1, D)
        p = torch.softmax(x @ gate.T, -1)
        weight, chosen = p.topk(top_k, -1)
        if renormalize:
            weight = weight / weight.sum(-1, keepdim=True)
        y = torch.zeros_like(x)
        for n in range(len(x)):
            for w, e in zip(weight[n], chosen[n]):
                h = act(experts_gate_proj[e] @ x[n]) * (experts_up_proj[e] @ x[n])
                y[n] += w * (experts_down_proj[e] @ h)
        if shared:
            s = (act(x @ shared_expert_gate_proj.T) * (x @ shared_expert_up_proj.T)) @ shared_expert_down_proj.T
            y = combine(s, y, torch.sigmoid(x @ shared_expert_gate.T) if shared_expert_gate is not None else None)
        return y
    shapes = {"gate.weight": (experts, D), "experts.gate_proj.weight": (experts, hidden, D),
              "experts.up_proj.weight": (experts, hidden, D), "experts.down_proj.weight": (experts, D, hidden)}
    if shared:
        shapes.update({"shared_expert.gate_proj.weight": (shared, D), "shared_expert.up_proj.weight": (shared, D),
                       "shared_expert.down_proj.weight": (D, shared)})
    if options.get("shared_combine") == "gated":
        shapes["shared_expert_gate.weight"] = (1, D)
    case("ffn", "moe", options, shapes, build)


moe_case({}, 8, 2, 16)
moe_case({"experts": 5, "top_k": 1, "hidden": 3}, 5, 1, 3)
moe_case({"experts": 3, "top_k": 3, "hidden": 4, "renormalize": True, "activation": "gelu"}, 3, 3, 4, F.gelu, True)
moe_case({"experts": 7, "top_k": 3, "hidden": 5, "renormalize": True}, 7, 3, 5, renormalize=True)
for how, combine in (("sum", lambda s, y, open: s + y), ("mean", lambda s, y, open: (s + 2 * y) / 3),
                     ("gated", lambda s, y, open: open * s + y)):
    moe_case({"experts": 4, "hidden": 5, "shared": 6, "shared_combine": how}, 4, 2, 5, shared=6, combine=combine)


def largest(h, k):
    """h, of which a token keeps its k largest by size."""
    return h * torch.zeros_like(h).scatter(-1, h.abs().topk(k, -1).indices, 1.0)


ffn_case("swiglu", {"hidden": 9, "top_k": 4}, 9, lambda gate_proj, up_proj, down_proj:
         largest(F.silu(X @ gate_proj.T) * (X @ up_proj.T), 4) @ down_proj.T)
ffn_case("mlp", {"hidden": 9, "activation": "relu2", "top_k": 3}, 9, lambda up_proj, down_proj:
         largest(F.relu(X @ up_proj.T) ** 2, 3) @ down_proj.T)

optimizers = []
N, STEPS, LR = 11, 5, 0.01


def optimizer(name, options, decay, make, shape=(N,), role="gain"):
    w = wave(2.0, *shape).clone().requires_grad_()
    o = make([w], LR, decay)
    after = []
    for step in range(STEPS):
        w.grad = wave(3.0 + step, *shape)
        o.step()
        after.append(w.detach().reshape(-1).tolist())
    optimizers.append({"name": name, "options": options, "shape": shape, "role": role, "weight_decay": decay, "lr": LR,
        "w": after})


for decay in (0.0, 0.1):
    optimizer("adamw", {}, decay, lambda p, lr, d: torch.optim.AdamW(p, lr, (0.9, 0.95), 1e-8, d))
    optimizer("adamw", {"beta1": 0.5, "beta2": 0.999, "eps": 0.01}, decay,
        lambda p, lr, d: torch.optim.AdamW(p, lr, (0.5, 0.999), 0.01, d))
    optimizer("sgd", {}, decay, lambda p, lr, d: torch.optim.SGD(p, lr, 0.9, weight_decay=d))
    optimizer("sgd", {"momentum": 0}, decay, lambda p, lr, d: torch.optim.SGD(p, lr, 0, weight_decay=d))
    optimizer("sgd", {"nesterov": True, "momentum": 0.8}, decay,
        lambda p, lr, d: torch.optim.SGD(p, lr, 0.8, weight_decay=d, nesterov=True))


class Lion:
    """Chen et al. (2023), algorithm 2, with the published code's order of operations: decay, step, then the mean."""

    def __init__(self, w, lr, decay, beta1=0.9, beta2=0.99):
        self.w, self.lr, self.decay, self.beta1, self.beta2, self.mean = w, lr, decay, beta1, beta2, torch.zeros_like(w)

    @torch.no_grad()
    def step(self):
        self.w.mul_(1 - self.lr * self.decay)
        self.w.sub_(self.lr * torch.sign(self.beta1 * self.mean + (1 - self.beta1) * self.w.grad))
        self.mean.mul_(self.beta2).add_((1 - self.beta2) * self.w.grad)


for decay in (0.0, 0.1):
    optimizer("lion", {}, decay, lambda p, lr, d: Lion(p[0], lr, d))
    optimizer("lion", {"beta1": 0.2, "beta2": 0.5}, decay, lambda p, lr, d: Lion(p[0], lr, d, 0.2, 0.5), (3, 4),
              "ffn_in")


class Muon:
    """Keller Jordan's update of a matrix (github.com/KellerJordan/Muon, muon_update), in f64, with Sonde's names of the
    step's length: "shape" is the author's, "rms" that of Liu et al. (2025)."""

    def __init__(self, w, lr, decay, momentum=0.95, nesterov=True, ns_steps=5, scale="rms"):
        self.w, self.lr, self.decay, self.momentum, self.nesterov = w, lr, decay, momentum, nesterov
        self.ns_steps, self.scale, self.mean = ns_steps, scale, torch.zeros_like(w)

    def orthogonal(self, x):
        if x.dim() > 2:                                    # several matrices, each by itself
            return torch.stack([self.orthogonal(one) for one in x])
        a, b, c = 3.4445, -4.7750, 2.0315
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (x.norm() + 1e-7)
        for _ in range(self.ns_steps):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if tall else x

    @torch.no_grad()
    def step(self):
        self.mean.lerp_(self.w.grad, 1 - self.momentum)
        u = self.orthogonal(self.w.grad.lerp(self.mean, self.momentum) if self.nesterov else self.mean)
        rows, columns = self.w.shape[-2:]
        length = max(1, rows / columns) ** 0.5 if self.scale == "shape" else 0.2 * max(rows, columns) ** 0.5
        self.w.mul_(1 - self.lr * self.decay).sub_(self.lr * length * u)


def muon(shape, options, decay):
    optimizer("muon", options, decay, lambda p, lr, d: Muon(p[0], lr, d, **options), shape, "ffn_in")


muon((4, 7), {}, 0.1)
muon((7, 4), {}, 0.1)
muon((5, 5), {"scale": "shape", "momentum": 0.5}, 0.0)
muon((9, 3), {"scale": "shape", "nesterov": False}, 0.1)
muon((2, 9), {"ns_steps": 2}, 0.0)
muon((3, 4, 5), {}, 0.1)
muon((2, 1, 3, 2), {"scale": "shape"}, 0.0)
for shape, role in (((3, 5), "embed"), ((5, 3), "head"), ((N,), "gain")):
    optimizer("muon", {"adam_lr": 0.5, "eps": 0.01}, 0.1,
        lambda p, lr, d: torch.optim.AdamW(p, lr / 2, (0.9, 0.95), 0.01, d), shape, role)


def rounded(x):
    if isinstance(x, list):
        return [rounded(v) for v in x]
    return float(f"{x:.9g}")


for c in modules:
    c["y"] = rounded(c["y"])
for c in optimizers:
    c["w"] = rounded(c["w"])
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins.json"), "w") as f:
    head = {"made_by": "make_plugins.py, PyTorch " + torch.__version__, "batch": B, "context": T, "width": D, "n": N}
    f.write(json.dumps(head)[:-1] + ',\n"modules": [\n' + ",\n".join(json.dumps(c) for c in modules)
            + '\n],\n"optimizers": [\n' + ",\n".join(json.dumps(c) for c in optimizers) + "\n]}\n")

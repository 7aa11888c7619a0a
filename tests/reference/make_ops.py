#!/usr/bin/python3
"""make_ops.py - writes ops.json: what PyTorch says about every op of Sonde, values and gradients.

    /usr/bin/python3 make_ops.py          (Debian's python3-torch; nothing else)

A case names an op, its attributes and its inputs. Inputs are not stored: both sides make them from a seed by the
same integer hash (see `numbers`), as f32. PyTorch then computes in f64, so that the figures are right to the last
digit that f32 has. Of a result (and of each gradient, for a generated upstream gradient) the file keeps up to SAMPLES
values at fixed positions, and its inner product with a generated vector, which no wrong element escapes.
"""
import itertools
import json
import math
import os
import sys
import zlib

import torch
import torch.nn.functional as F

SAMPLES = 12
STRIDE = 7919          # sample k stands at position k * STRIDE mod n
PROJECTION_SEED = 12345

cases = []


def numbers(seed, n, lo, hi, steps=0):
    """n numbers in [lo, hi): a 32-bit mixing hash of (seed, index), its upper 24 bits as a fraction; `steps` rounds
    the fraction down to that many levels."""
    mask = 0xFFFFFFFF
    h = (torch.arange(n, dtype=torch.int64) + seed) & mask
    for factor, shift in ((0x7FEB352D, 16), (0x846CA68B, 15)):
        h = h ^ (h >> shift)
        h = (h * factor) & mask
    h = h ^ (h >> 16)
    u = (h >> 8).double() / 2 ** 24
    if steps:
        u = torch.floor(u * steps) / steps
    return lo + (hi - lo) * u


def f32(*shape, lo=-1.0, hi=1.0, steps=0):
    return {"dtype": "f32", "shape": list(shape), "lo": lo, "hi": hi, "steps": steps}


def i32(*shape, lo=0, hi):
    return {"dtype": "i32", "shape": list(shape), "lo": lo, "hi": hi, "steps": hi - lo}


def make(spec):
    x = numbers(spec["seed"], math.prod(spec["shape"]), spec["lo"], spec["hi"], spec["steps"])
    x = x.round().long() if spec["dtype"] == "i32" else x.float().double()
    return x.reshape(spec["shape"])


def record(t):
    flat = t.detach().reshape(-1).double()
    n = flat.numel()
    weight = numbers(PROJECTION_SEED, n, -1, 1).float().double()
    at = [k * STRIDE % n for k in range(SAMPLES)] if n > SAMPLES else range(n)
    short = lambda v: float("%.9g" % v)
    return {"shape": list(t.shape), "values": [short(flat[k].item()) for k in at],
            "projection": short(torch.dot(flat, weight).item()), "norm": short(flat.norm().item())}


def case(name, op, inputs, fn, i=(), f=(), wrt=None, result=0, differences=True):
    """fn: the formula on f64 (or integer) tensors, giving one tensor or a tuple. wrt: inputs to differentiate by
    (all f32 ones unless told). result: the output that is differentiated. differences: finite differences make sense
    here (no kink, no tie, not below what f32 resolves)."""
    inputs = [dict(s, seed=zlib.crc32(f"{name}/{k}".encode())) for k, s in enumerate(inputs)]
    x = [make(s) for s in inputs]
    if wrt is None:
        wrt = [k for k, s in enumerate(inputs) if s["dtype"] == "f32"]
    for k in range(len(x)):
        if inputs[k]["dtype"] == "f32":
            x[k].requires_grad_()
    out = fn(*x)
    out = out if isinstance(out, tuple) else (out,)
    c = {"name": name, "op": op, "i": list(i), "f": list(f), "in": inputs, "out": [record(y) for y in out],
         "wrt": list(wrt), "result": result, "differences": differences}
    if wrt:
        c["seed"] = zlib.crc32(f"{name}/dy".encode())
        dy = numbers(c["seed"], out[result].numel(), -1, 1).float().double().reshape(out[result].shape)
        grads = [None] * len(wrt)
        if out[result].requires_grad:
            grads = torch.autograd.grad(out[result], [x[k] for k in wrt], dy, allow_unused=True)
        c["din"] = [record(torch.zeros_like(x[k]) if d is None else d) for k, d in zip(wrt, grads)]
    cases.append(c)


def elementwise():
    away = dict(lo=-2 + 1 / 16, hi=2 + 1 / 16, steps=32)       # never 0, where these have a kink
    positive = dict(lo=0.5, hi=3.0)
    gelu_tanh = lambda x: F.gelu(x, approximate="tanh")
    relu2 = lambda x: F.relu(x) ** 2
    unary = {
        "neg": (torch.neg, {}), "exp": (torch.exp, {}), "log": (torch.log, positive), "sqrt": (torch.sqrt, positive),
        "rsqrt": (torch.rsqrt, positive), "square": (torch.square, {}), "reciprocal": (torch.reciprocal, positive),
        "abs": (torch.abs, away), "sign": (torch.sign, away), "tanh": (torch.tanh, {}), "erf": (torch.erf, {}),
        "sin": (torch.sin, {}), "cos": (torch.cos, {}), "sigmoid": (torch.sigmoid, {}), "silu": (F.silu, {}),
        "gelu": (F.gelu, {}), "gelu_tanh": (gelu_tanh, {}), "relu": (F.relu, away), "relu2": (relu2, away),
    }
    for op, (fn, values) in unary.items():
        case(op, op, [f32(3, 37, **(values or dict(lo=-3.0, hi=3.0)))], fn)
    case("silu/large", "silu", [f32(5, 70, 131, lo=-3.0, hi=3.0)], F.silu)
    case("affine", "affine", [f32(3, 37)], lambda x: 1.75 * x - 0.3, f=[1.75, -0.3])

    binary = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
    for op, fn in binary.items():
        values = positive if op == "div" else {}
        case(op, op, [f32(3, 37), f32(3, 37, **values)], fn)
        case(op + "/row", op, [f32(4, 3, 37), f32(37, **values)], fn)
        case(op + "/column", op, [f32(4, 3, 1), f32(4, 1, 7, **values)], fn)
    case("mul/scalar", "mul", [f32(), f32(4, 3)], torch.mul)
    case("add/large", "add", [f32(3, 130, 67), f32(130, 1)], torch.add)
    apart = dict(lo=-1 + 1 / 16, hi=1 + 1 / 16, steps=16)       # half a step away from every level of `level`
    level = dict(lo=-1.0, hi=1.0, steps=16)
    for op, fn in (("max", torch.maximum), ("min", torch.minimum)):
        case(op, op, [f32(5, 13, **level), f32(13, **apart)], fn)
        case(op + "/ties", op, [f32(5, 13, lo=0, hi=3, steps=3), f32(5, 13, lo=0, hi=3, steps=3)], fn,
             differences=False)
    case("greater", "greater", [f32(5, 13, **level), f32(13, **apart)], lambda a, b: (a > b).double())
    case("where", "where", [f32(5, 13, lo=0, hi=2, steps=2), f32(5, 1), f32(13)],
         lambda c, a, b: torch.where(c != 0, a, b), wrt=[1, 2])
    case("swiglu", "swiglu", [f32(3, 37, lo=-3.0, hi=3.0), f32(3, 37)], lambda g, u: F.silu(g) * u)

    def slope(fn):
        return lambda x, dy: torch.autograd.grad(fn(x), x, dy, create_graph=True)[0]

    case("tanh_grad", "tanh_grad", [f32(3, 37), f32(3, 37)], lambda y, dy: dy * (1 - y * y))
    case("sigmoid_grad", "sigmoid_grad", [f32(3, 37, lo=0.0), f32(3, 37)], lambda y, dy: dy * y * (1 - y))
    smooth = dict(lo=-3.0, hi=3.0)
    for op, fn, values in (("silu", F.silu, smooth), ("gelu", F.gelu, smooth), ("gelu_tanh", gelu_tanh, smooth),
                           ("relu", F.relu, away), ("relu2", relu2, away)):
        case(op + "_grad", op + "_grad", [f32(3, 37, **values), f32(3, 37)], slope(fn))
    case("silu_grad/row", "silu_grad", [f32(37, **smooth), f32(3, 37)],
        lambda x, dy: slope(F.silu)(x.expand(3, 37), dy))
    case("swiglu_dgate", "swiglu_dgate", [f32(3, 37, **smooth), f32(3, 37), f32(3, 37)],
         lambda g, u, dy: slope(F.silu)(g, u * dy))
    case("swiglu_dup", "swiglu_dup", [f32(3, 37, **smooth), f32(3, 37)], lambda g, dy: F.silu(g) * dy)


def reductions():
    def to(shape):
        """The axes over which a tensor is reduced to broadcast back from `shape`, and the shape itself."""
        def axes(x):
            missing = x.dim() - len(shape)
            return [k for k in range(x.dim()) if k < missing or shape[k - missing] != x.shape[k]]
        return axes

    patterns = [
        ("last", [6, 37], [6, 1]), ("rows", [6, 37], [37]), ("many_rows", [150, 37], [1, 37]), ("all", [300, 131], []),
        ("middle", [4, 70, 9], [4, 1, 9]), ("ends", [3, 5, 67], [5, 1]), ("alternating", [3, 70, 5, 67], [70, 1, 67]),
        ("alternating_last", [2, 66, 5, 67], [2, 1, 5, 1]), ("long_rows", [3, 20000], [3, 1]),
        ("wide", [70, 17000], [17000]), ("short_rows", [9000, 3], [9000, 1]), ("vector", [37], []),
    ]
    for name, shape, target in patterns:
        at = [len(target)] + target
        case("sum/" + name, "sum", [f32(*shape)], lambda x: x.sum(to(target)(x)).reshape(target), i=at)
    for name, shape, target in patterns[:8]:
        at = [len(target)] + target
        case("amax/" + name, "amax", [f32(*shape)], lambda x: x.amax(to(target)(x)).reshape(target), i=at,
             differences=False)
    case("amax/levels", "amax", [f32(3, 4, lo=-1, hi=1, steps=16)], lambda x: x.amax(1, keepdim=True), i=[2, 3, 1])
    case("amax/ties", "amax", [f32(6, 20, lo=0, hi=3, steps=3)], lambda x: x.amax(1, keepdim=True), i=[2, 6, 1],
         differences=False)
    for name, shape, target in (("last", [6, 1], [6, 37]), ("rows", [37], [6, 37]), ("scalar", [], [3, 5]),
                                ("middle", [4, 1, 9], [4, 7, 9]), ("alternating", [70, 1, 67], [3, 70, 5, 67]),
                                ("leading", [5, 7], [2, 3, 5, 7])):
        case("expand/" + name, "expand", [f32(*shape)], lambda x: x.expand(target), i=[len(target)] + target)


def moves():
    case("reshape", "reshape", [f32(4, 6)], lambda x: x.reshape(3, 8), i=[2, 3, 8])
    # moves, but has no gradient
    case("detach", "detach", [f32(3, 8)], lambda x: x.detach().clone(), differences=False)
    case("reshape/inferred", "reshape", [f32(4, 6)], lambda x: x.reshape(2, 3, 4), i=[3, 2, -1, 4])
    for axes, shape in (([1, 0], [5, 7]), ([1, 0], [131, 67]), ([0, 2, 1, 3], [2, 33, 5, 7]), ([2, 0, 1], [5, 35, 40]),
                        ([2, 1, 0], [9, 1, 70]), ([0, 1, 2], [2, 3, 4]), ([3, 0, 2, 1], [3, 34, 5, 66]),
                        ([0, 2, 3, 1], [2, 40, 3, 35]), ([1, 0, 2], [70, 33, 300])):
        name = "permute/" + "".join(map(str, axes)) + "_" + "x".join(map(str, shape))
        case(name, "permute", [f32(*shape)], lambda x: x.permute(axes), i=[len(axes)] + axes)
    for axis, start, length in ((0, 1, 2), (1, 3, 5), (2, 0, 7), (2, 9, 1)):
        case(f"slice/{axis}_{start}", "slice", [f32(4, 9, 10)],
             lambda x: x.narrow(axis, start, length), i=[axis, start, length])
    case("slice/large", "slice", [f32(130, 301)], lambda x: x.narrow(1, 17, 203), i=[1, 17, 203])
    for axis, start, total in ((0, 1, 6), (1, 0, 5), (2, 6, 10)):
        def pad(x):
            shape = list(x.shape)
            shape[axis] = start
            before = torch.zeros(shape, dtype=x.dtype)
            shape[axis] = total - start - x.shape[axis]
            return torch.cat([before, x, torch.zeros(shape, dtype=x.dtype)], axis)
        case(f"pad_slice/{axis}", "pad_slice", [f32(3, 5, 4)], pad, i=[axis, start, total])
    case("concat/0", "concat", [f32(2, 3), f32(4, 3), f32(1, 3)], lambda *x: torch.cat(x, 0), i=[0])
    case("concat/1", "concat", [f32(2, 3, 4), f32(2, 1, 4)], lambda *x: torch.cat(x, 1), i=[1])
    case("concat/2", "concat", [f32(70, 3, 101), f32(70, 3, 99)], lambda *x: torch.cat(x, 2), i=[2])
    case("concat/one", "concat", [f32(2, 3)], lambda x: x + 0, i=[0])


def tables():
    for name, rows, width, index in (("", 11, 5, [4, 3]), ("/large", 300, 129, [2, 150]), ("/scalar", 7, 9, [])):
        case("gather" + name, "gather", [f32(rows, width), i32(*index, hi=rows)], lambda t, i: t[i])
        case("scatter_add" + name, "scatter_add", [i32(*index, hi=rows), f32(*index, width)],
             lambda i, dy: torch.zeros(rows, width, dtype=dy.dtype).index_add(0, i.reshape(-1), dy.reshape(-1, width)),
             i=[rows])


def softmaxes():
    def cross_entropy(x, t):
        lse = torch.logsumexp(x, -1)
        hit = torch.gather(x, -1, t.clamp(min=0)[..., None])[..., 0]
        return torch.where(t < 0, torch.zeros_like(lse), lse - hit), lse

    for name, shape in (("", [3, 13]), ("/large", [2, 40, 1031]), ("/vector", [7]), ("/one", [3, 1])):
        wide = f32(*shape, lo=-4.0, hi=4.0)
        case("softmax" + name, "softmax", [wide], lambda x: torch.softmax(x, -1))
        case("log_softmax" + name, "log_softmax", [wide], lambda x: torch.log_softmax(x, -1))
        case("softmax_grad" + name, "softmax_grad", [f32(*shape, lo=0.0), f32(*shape)],
             lambda y, dy: y * (dy - (y * dy).sum(-1, keepdim=True)))
        case("log_softmax_grad" + name, "log_softmax_grad", [f32(*shape, lo=-3.0, hi=0.0), f32(*shape)],
             lambda y, dy: dy - y.exp() * dy.sum(-1, keepdim=True))
    for name, shape in (("", [6, 13]), ("/large", [40, 1031]), ("/batched", [2, 5, 9])):
        inputs = [f32(*shape, lo=-4.0, hi=4.0), i32(*shape[:-1], lo=-1, hi=shape[-1])]
        case("cross_entropy" + name, "cross_entropy", inputs, cross_entropy)
        case("cross_entropy/lse" + name, "cross_entropy", inputs, cross_entropy, result=1)
    case("softmax/far", "softmax", [f32(3, 40, lo=296.0, hi=304.0)], lambda x: torch.softmax(x, -1), differences=False)
    case("cross_entropy/far", "cross_entropy", [f32(5, 40, lo=296.0, hi=304.0), i32(5, hi=40)], cross_entropy,
         differences=False)


def products():
    for ta in (0, 1):
        for tb in (0, 1):
            def product(a, b):
                return (a.mT if ta else a) @ (b.mT if tb else b)

            def shapes(m, n, k):
                return ([k, m] if ta else [m, k]), ([n, k] if tb else [k, n])

            a, b = shapes(5, 7, 11)
            name = f"matmul/{ta}{tb}"
            case(name, "matmul", [f32(*a), f32(*b)], product, i=[ta, tb])
            case(name + "/batched", "matmul", [f32(2, 3, *a), f32(2, 3, *b)], product, i=[ta, tb])
            if not ta:
                case(name + "/shared", "matmul", [f32(2, 3, *a), f32(*b)], product, i=[ta, tb])
            a, b = shapes(150, 131, 263)
            case(name + "/large", "matmul", [f32(*a), f32(*b)], product, i=[ta, tb])
    case("matmul_f32", "matmul_f32", [f32(5, 11), f32(7, 11)], lambda a, b: a @ b.T, i=[0, 1])
    case("matmul/added", "matmul", [f32(5, 11), f32(11, 7), f32(5, 7)], lambda a, b, c: c + a @ b)
    case("matmul/column", "matmul", [f32(300, 70), f32(70, 1)], torch.matmul)


def experts():
    def largest(x, k):
        return torch.sort(x, dim=-1, descending=True, stable=True)[1][..., :k].double()

    for name, shape, k in (("", [5, 7], 3), ("/all", [4, 6], 6), ("/batched", [2, 30, 64], 8), ("/one", [9], 1)):
        case("top_k" + name, "top_k", [f32(*shape)], lambda x: largest(x, k), i=[k], wrt=[])
        index = i32(*shape[:-1], k, hi=shape[-1])
        case("take_along" + name, "take_along", [f32(*shape), index], lambda x, i: torch.gather(x, -1, i))
        case("put_along" + name, "put_along", [index, f32(*shape[:-1], k)],
             lambda i, x: torch.zeros(shape, dtype=x.dtype).scatter_add(-1, i, x), i=[shape[-1]])
    case("top_k/ties", "top_k", [f32(6, 37, lo=0, hi=3, steps=3)],
         lambda x: largest(x, 9), i=[9], wrt=[])

    def order(index, count):
        """The tokens by expert, the row of each choice, where each expert's rows begin."""
        flat = index.reshape(-1)
        sorted_by = torch.sort(flat, dim=0, stable=True)[1]
        row = torch.empty_like(flat)
        row[sorted_by] = torch.arange(len(flat))
        ends = torch.cumsum(torch.bincount(flat, minlength=count), 0)
        return ((sorted_by // index.shape[-1]).double(), row.reshape(index.shape).double(),
                torch.cat([torch.zeros(1), ends]).double())

    for name, shape, count in (("", [6, 2], 4), ("/large", [3, 200, 4], 60), ("/one", [5], 1), ("/empty", [2, 1], 9)):
        case("expert_order" + name, "expert_order", [i32(*shape, hi=count)], lambda index: order(index, count),
             i=[count], wrt=[])

    def total(y, weight, place, added=0):
        return added + (weight[..., None] * y[place]).sum(-2)

    for name, rows, width, shape in (("", 10, 5, [4, 3]), ("/large", 300, 700, [2, 60, 4]), ("/one", 3, 1, [6])):
        inputs = [f32(rows, width), f32(*shape), i32(*shape, hi=rows)]
        case("expert_sum" + name, "expert_sum", inputs, total)
        result = f32(*shape[:-1], width)
        case("expert_sum/added" + name, "expert_sum", inputs + [result], total)

        def gradients(y, weight, place, dout):
            dy = torch.zeros_like(y).index_add(0, place.reshape(-1), (weight[..., None] * dout[..., None, :]).reshape(
                -1, width))
            return dy, (y[place] * dout[..., None, :]).sum(-1)
        case("expert_sum_grad" + name, "expert_sum_grad", inputs + [result], gradients, wrt=[])


def norms():
    def rmsnorm(x, gain):
        r = torch.rsqrt(x.square().mean(-1) + 1e-5)
        return x * r[..., None] * gain, r

    def layernorm(x, gain, bias):
        mean = x.mean(-1)
        r = torch.rsqrt(x.var(-1, unbiased=False) + 1e-5)
        return F.layer_norm(x, x.shape[-1:], gain, bias, 1e-5), mean, r

    for name, shape in (("", [4, 33]), ("/large", [3, 70, 259]), ("/vector", [16])):
        width = shape[-1]
        gain = f32(width, lo=0.5, hi=1.5)
        inputs = [f32(*shape, lo=-2.0, hi=2.0), gain]
        for result, what in enumerate(("", "/scale")):
            case("rmsnorm" + what + name, "rmsnorm", inputs, rmsnorm, f=[1e-5], result=result)
        inputs = [f32(*shape, lo=-1.0, hi=2.0), gain, f32(width)]
        for result, what in enumerate(("", "/mean", "/scale")):
            case("layernorm" + what + name, "layernorm", inputs, layernorm, f=[1e-5], result=result)


def frequencies(theta, width, scheme, f):
    """theta^(-2j/Dh); linear: over the factor; llama3: as the paper's code has it, wave by wave; yarn: the ramp by
    pair, with whole ends (3) or not (4)."""
    plain = theta ** (-torch.arange(width // 2, dtype=torch.float64) * 2 / width)
    if scheme == 0:
        return plain
    if scheme == 1:
        return plain / f[0]
    if scheme > 2:
        factor, fast, slow, original = f
        low, high = (width * torch.log(original / (n * 2 * math.pi)) / (2 * torch.log(theta)) for n in (
            torch.tensor(fast, dtype=torch.float64), torch.tensor(slow, dtype=torch.float64)))
        if scheme == 3:
            low, high = low.floor(), high.ceil()
        low, high = max(low.item(), 0), min(high.item(), width - 1)
        ramp = ((torch.arange(width // 2) - low) / (high - low if high != low else 0.001)).clamp(0, 1)
        return plain * (1 - ramp) + plain / factor * ramp
    waves, (factor, low, high, original) = 2 * math.pi / plain, f
    share = (original / waves - low) / (high - low)
    blend = (1 - share) * plain / factor + share * plain
    return torch.where(waves < original / high, plain, torch.where(waves > original / low, plain / factor, blend))


def rotate(x, theta, offset, sign=1.0):
    """As in Hugging Face's Llama: halves rotated, angle (t + offset) theta^(-2j/Dh)."""
    return turn(x, frequencies(torch.tensor(theta, dtype=torch.float64), x.shape[-1], 0, []), offset, sign)


def turn(x, inverse, offset, sign):
    return turn_by(x, inverse, torch.arange(x.shape[1], dtype=torch.float64).expand(x.shape[0], -1) + offset, sign)


def turn_by(x, inverse, positions, sign):
    """The same with a position for each token, [B, T]."""
    half = x.shape[-1] // 2
    angle = positions.double()[:, :, None] * inverse
    angle = torch.cat([angle, angle], -1)[:, :, None, :]
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * angle.cos() + turned * angle.sin() * sign


def turn_part(x, inverse, amplitude):
    """The first of each head turned and multiplied, the rest as it is."""
    turned = 2 * inverse.shape[0]
    return torch.cat([amplitude * turn(x[..., :turned], inverse, 0, 1.0), x[..., turned:]], -1)


def attend(q, k, v, scale, causal, window, starts=None, slopes=None, cap=0):
    """Values, the log-sum-exp of scores_of with the same arguments, and the entropy of the softmax."""
    return attended(scores_of(q, k, scale, causal, window, starts, slopes, cap), v)


def attended(scores, v):
    v = v.repeat_interleave(scores.shape[1] // v.shape[2], 2)
    p = torch.softmax(scores, -1)
    entropy = -torch.where(p > 0, p * torch.where(p > 0, p, 1).log(), 0).sum(-1)
    return torch.einsum("bhts,bshd->bthd", p, v), torch.logsumexp(scores, -1), entropy


def scores_of(q, k, scale, causal, window, starts=None, slopes=None, cap=0, seen=None):
    """q [B, T, H, Dh], k [B, Tk, KV, Dh]; every score written out. starts [B, T]: the first key of each query, its own
    at the latest. slopes [H]: what a score of each head loses for every key back. seen [B, H, T, Tk]: more masks."""
    length, keys, heads = q.shape[1], k.shape[1], q.shape[2]
    k = k.repeat_interleave(heads // k.shape[2], 2)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * (scale or q.shape[-1] ** -0.5)
    if cap:
        scores = cap * torch.tanh(scores / cap)
    back = torch.arange(length)[:, None] + (keys - length) - torch.arange(keys)[None, :]
    if slopes is not None:
        scores = scores - slopes[:, None, None] * back
    hidden = torch.zeros_like(back, dtype=torch.bool)
    if causal:
        hidden |= back < 0
    if window:
        hidden |= back >= window
    if starts is not None:
        own = torch.arange(length) + (keys - length)
        hidden = hidden | (torch.arange(keys) < torch.minimum(starts, own)[:, :, None])[:, None]
    if seen is not None:
        hidden = hidden | ~seen
    return scores.masked_fill(hidden, -math.inf)


def alibi(m, heads):
    """The slopes of the paper's code: of a power of two a geometric sequence; else that of the largest power of two
    below and every second slope of the next one."""
    def geometric(n):
        return [2 ** (-m * (k + 1) / n) for k in range(n)]
    power = 2 ** int(math.log2(heads))
    return torch.cat((geometric(power) + geometric(2 * power)[::2])[:heads])


def attentions():
    for name, shape, offset in (("", [2, 5, 3, 8], 0), ("/offset", [1, 3, 2, 6], 1000), ("/large", [1, 150, 3, 64], 0)):
        case("rope" + name, "rope", [f32(*shape)], lambda x: rotate(x, 10000.0, offset), f=[10000.0, 1.0], i=[offset])
    for name, scheme, f in (("plain", 0, []), ("linear", 1, [2.5]), ("llama3", 2, [8.0, 1.0, 4.0, 64.0]),
                            ("yarn", 3, [4.0, 32.0, 1.0, 2048.0]), ("yarn_exact", 4, [4.0, 32.0, 1.0, 2048.0]),
                            ("yarn_one", 3, [2.0, 1.0, 1.0, 2 * math.pi])):
        case("rope_frequencies/" + name, "rope_frequencies", [f32(1, lo=9.0, hi=1e4)],
             lambda theta: frequencies(theta, 16, scheme, f), i=[16, scheme], f=f, wrt=[])
    case("rope/frequencies", "rope", [f32(2, 5, 3, 8), f32(4, lo=0.01, hi=2.0)], lambda x, w: turn(x, w, 3, 1.0),
        f=[1.0, 1.0],
         i=[3], wrt=[0])
    for name, width, pairs, amplitude in (("partial", 8, 3, 1.0), ("odd", 7, 2, 1.25), ("amplitude", 8, 4, 0.5)):
        case("rope/" + name, "rope", [f32(2, 5, 3, width), f32(pairs, lo=0.01, hi=2.0)],
             lambda x, w: turn_part(x, w, amplitude), f=[1.0, 1.0, amplitude], i=[0], wrt=[0])
    for name, limit, tokens in (("below", 8, 8), ("beyond", 7, 8)):
        case("rope_by_length/" + name, "rope_by_length", [f32(4), f32(4)],
             lambda a, b: a if tokens <= limit else b, i=[limit, tokens, 0], wrt=[])
    case("rope/back", "rope", [f32(2, 5, 3, 8)], lambda x: rotate(x, 500.0, 0, -1.0), f=[500.0, -1.0])
    for name, length, keys, heads, kv, width, scale, causal, window in (
            ("mha", 7, 7, 2, 2, 8, 0, 1, 0), ("gqa", 7, 7, 4, 2, 8, 0, 1, 0), ("mqa", 7, 7, 3, 1, 4, 0.3, 1, 0),
            ("window", 9, 9, 2, 1, 8, 0, 1, 3), ("full", 5, 5, 2, 2, 8, 0, 0, 0), ("cached", 2, 9, 2, 1, 8, 0, 1, 0),
            ("large", 150, 150, 4, 2, 64, 0, 1, 0), ("large_window", 200, 200, 2, 1, 32, 0, 1, 70),
            ("odd", 67, 67, 2, 2, 20, 0, 1, 0), ("one", 1, 1, 2, 1, 8, 0, 1, 0)):
        inputs = [f32(2, length, heads, width, lo=-2.0, hi=2.0), f32(2, keys, kv, width, lo=-2.0, hi=2.0),
                  f32(2, keys, kv, width)]
        case("attention/" + name, "attention", inputs, lambda q, k, v: attend(q, k, v, scale, causal, window),
             f=[scale], i=[causal, window], wrt=[2] if name == "one" else None)   # of one key: 0 by q and k
    for name, length, keys, heads, kv, width, window in (("starts", 9, 9, 4, 2, 8, 0),
        ("starts_window", 9, 12, 2, 2, 8, 4),
                                                         ("starts_large", 300, 300, 2, 1, 32, 0)):
        inputs = [f32(2, length, heads, width), f32(2, keys, kv, width), f32(2, keys, kv, width),
            i32(2, length, hi=min(keys, 60))]
        case("attention/" + name, "attention", inputs, lambda q, k, v, starts: attend(q, k, v, 0, 1, window, starts),
            f=[0],
             i=[1, window], wrt=[0, 1, 2])
    for name, length, width, scale, window, cap in (("cap", 9, 8, 0, 0, 1.5), ("cap_large", 150, 32, 0.5, 70, 2.0)):
        inputs = [f32(2, length, 4, width, lo=-2.0, hi=2.0), f32(2, length, 2, width, lo=-2.0, hi=2.0),
                  f32(2, length, 2, width)]
        case("attention/" + name, "attention", inputs,
             lambda q, k, v: attend(q, k, v, scale, 1, window, cap=cap), f=[scale, cap], i=[1, window])
    for name, length, keys, heads, kv, width, window, scale in (("alibi", 9, 9, 4, 2, 8, 0, 0),
                                                                ("alibi_large", 200, 300, 3, 1, 16, 70, 0.4)):
        inputs = [f32(2, length, heads, width), f32(2, keys, kv, width), f32(2, keys, kv, width),
                  f32(heads, lo=0.0, hi=0.5)]
        case("attention/" + name, "attention", inputs,
             lambda q, k, v, slopes: attend(q, k, v, scale, 1, window, slopes=slopes), f=[scale], i=[1, window],
             wrt=[0, 1, 2])
    case("attention/alibi_starts", "attention",
         [f32(2, 40, 2, 8), f32(2, 40, 2, 8), f32(2, 40, 2, 8), i32(2, 40, hi=40), f32(2, lo=0.0, hi=0.5)],
         lambda q, k, v, starts, slopes: attend(q, k, v, 0, 1, 0, starts, slopes), f=[0], i=[1, 0], wrt=[0, 1, 2])
    for heads in (1, 2, 3, 8, 12):
        case(f"alibi_slopes/{heads}", "alibi_slopes", [f32(1, lo=4.0, hi=10.0)], lambda m: alibi(m, heads), i=[heads],
             wrt=[])
    case("positions", "positions", [f32(3, 7, 4)], lambda x: torch.arange(7).double().expand(3, 7), wrt=[])
    case("positions/from", "positions", [f32(2, 5, 1), i32(1, hi=900)],
         lambda x, p: (p + torch.arange(5)).double().expand(2, 5), wrt=[])
    case("rope/positions", "rope", [f32(2, 70, 3, 8), i32(2, 70, hi=40)],
         lambda x, at: turn_by(x, frequencies(torch.tensor(100.0, dtype=torch.float64), 8, 0, []), at + 3, 1.0),
         f=[100.0, 1.0],
         i=[3], wrt=[0])
    for result, what in enumerate(("", "/positions")):
        case("document_starts" + what, "document_starts", [i32(3, 40, hi=9)], documents, i=[4], result=result, wrt=[])


def seen_of(shape, keys, window, sinks, size, stride, starts, lists):
    """Which keys the queries of shape [B, T, H] see, [B, H, T, Tk]: the window, the sinks, every stride-th block back
    from their own, and those of lists [B, T, H, 1 + K], whose first entries are the starts. Query by query."""
    batch, length, heads = shape
    seen = torch.zeros(batch, heads, length, keys, dtype=torch.bool)
    for b, h, t in itertools.product(range(batch), range(heads), range(length)):
        own = t + keys - length
        first = 0 if starts is None and lists is None else int((starts[b, t] if lists is None else lists[b, t, h, 0]))
        first = max(0, min(first, own))
        row = seen[b, h, t]
        row[max(first, own - window + 1) if window else own:own + 1] = True
        row[first:first + sinks] = True
        for block in range((own - first) // size + 1) if size else ():
            far = (own - first) // size - block
            if (stride and far % stride == 0) or (lists is not None and block in lists[b, t, h, 1:].tolist()):
                row[first + block * size:first + (block + 1) * size] = True
        row[own + 1:] = False
    return seen


def sparse_attend(q, k, v, window, sinks, size, stride, starts=None, lists=None):
    seen = seen_of(q.shape[:3], k.shape[1], window, sinks, size, stride, starts, lists)
    return attended(scores_of(q, k, 0, 1, 0, seen=seen), v)


def chosen_blocks(q, k, size, top, every, starts=None):
    """By the formula of MoBA: the blocks, cut from the start, whose mean key has the highest product with the first of
    `every` queries in a row."""
    batch, length, heads, _ = q.shape
    k = k.repeat_interleave(heads // k.shape[2], 2)
    top = min(top, -(-length // size))
    lists = torch.full((batch, length, heads, 3 + top), -1)
    for b, t, h in itertools.product(range(batch), range(length), range(heads)):
        first = 0 if starts is None else max(0, min(int(starts[b, t]), t))
        own, by = (t - first) // size, t - (t - first) % every
        means = [k[b, first + j * size:first + (j + 1) * size, h].mean(0) for j in range(1, own)]
        score = [float(q[b, by, h] @ mean) for mean in means]
        order = sorted(range(len(score)), key=lambda j: (-score[j], j))[:top]
        row = [first, 0, own or -1] + [1 + j for j in order]
        lists[b, t, h, :len(row)] = torch.tensor(row)
    return lists.double()


def spread(q, k, lse, thresholds, **of):
    """Shares below a + r / n, and n, of the n weights that each query gives."""
    scores = scores_of(q, k, of.get("scale", 0), 1, of.get("window", 0), of.get("starts"), of.get("slopes"),
                       of.get("cap", 0), of.get("seen"))
    seen, p = scores > -math.inf, torch.exp(scores - lse[..., None])
    n = seen.sum(-1).double()
    bound = thresholds[:, 0] + thresholds[:, 1] / n[..., None]
    below = ((p[..., None] < bound[..., None, :]) & seen[..., None]).sum(-2) / n[..., None]
    return below, n


def sparse_attentions():
    for name, length, keys, heads, kv, width, window, sinks, size, stride in (
            ("sinks", 9, 9, 2, 1, 8, 3, 2, 0, 0), ("sinks_large", 200, 200, 2, 2, 16, 40, 5, 0, 0),
            ("strided", 23, 23, 2, 1, 8, 0, 0, 3, 2), ("strided_window", 40, 47, 2, 2, 8, 5, 1, 4, 3),
            ("strided_large", 300, 300, 2, 1, 16, 0, 3, 32, 3)):
        inputs = [f32(2, length, heads, width), f32(2, keys, kv, width), f32(2, keys, kv, width)]
        case("attention/" + name, "attention", inputs,
             lambda q, k, v: sparse_attend(q, k, v, window, sinks, size, stride), i=[1, window, sinks, size, stride])
    for name, length, window, sinks, size, listed in (("blocks", 17, 0, 0, 3, 2), ("blocks_window", 40, 6, 2, 4, 3),
                                                      ("blocks_large", 260, 0, 0, 48, 2)):
        inputs = [f32(2, length, 2, 8), f32(2, length, 1, 8), f32(2, length, 1, 8), i32(2, length, 2, 1 + listed, lo=-1,
                                                                                      hi=6)]
        case("attention/" + name, "attention", inputs,
             lambda q, k, v, lists: sparse_attend(q, k, v, window, sinks, size, 0, None, lists),
             i=[1, window, sinks, size], wrt=[0, 1, 2])
    case("attention/strided_starts", "attention",
         [f32(2, 60, 2, 8), f32(2, 60, 2, 8), f32(2, 60, 2, 8), i32(2, 60, hi=60)],
         lambda q, k, v, starts: sparse_attend(q, k, v, 4, 3, 5, 2, starts), i=[1, 4, 3, 5, 2], wrt=[0, 1, 2])
    for name, length, heads, kv, width, size, top, every in (
            ("", 23, 2, 1, 8, 3, 2, 3), ("/query", 23, 2, 2, 6, 3, 2, 1), ("/some", 50, 4, 2, 8, 4, 3, 2),
            ("/large", 300, 2, 1, 32, 32, 3, 32), ("/all", 20, 1, 1, 4, 3, 100, 3), ("/none", 20, 1, 1, 4, 3, 0, 3)):
        inputs = [f32(2, length, heads, width), f32(2, length, kv, width), f32(2, length, heads, width)]
        case("attention_blocks" + name, "attention_blocks", inputs,
             lambda q, k, _: chosen_blocks(q, k, size, top, every), i=[size, top, every], wrt=[])
    case("attention_blocks/starts", "attention_blocks",
         [f32(2, 60, 2, 8), f32(2, 60, 1, 8), f32(2, 60, 2, 8), i32(2, 60, lo=-4, hi=60)],
         lambda q, k, _, starts: chosen_blocks(q, k, 4, 2, 4, starts), i=[4, 2, 4], wrt=[])
    for name, length, scale, window, cap in (("", 9, 0, 0, 0), ("/window", 150, 2.0, 70, 0), ("/cap", 40, 3.0, 0, 0.7)):
        inputs = [f32(2, length, 4, 8, lo=-2.0, hi=2.0), f32(2, length, 2, 8, lo=-2.0, hi=2.0),
                  f32(2, 4, length, lo=1.0, hi=4.0)]
        case("attention_weights" + name, "attention_weights", inputs,
             lambda q, k, lse: torch.exp(scores_of(q, k, scale, 1, window, cap=cap) - lse[..., None]), f=[scale, cap],
             i=[1, window], wrt=[])
        case("attention_spread" + name, "attention_spread", inputs + [f32(3, 2, lo=0.0, hi=0.2)],
             lambda q, k, lse, a: spread(q, k, lse, a, scale=scale, window=window, cap=cap), f=[scale, cap],
             i=[1, window], wrt=[])
    case("attention_spread/starts", "attention_spread",
         [f32(2, 40, 2, 8), f32(2, 40, 2, 8), f32(2, 2, 40, lo=1.0, hi=4.0), f32(1, 2, lo=0.0, hi=0.1),
          i32(2, 40, hi=40), f32(2, lo=0.0, hi=0.5)],
         lambda q, k, lse, a, starts, slopes: spread(q, k, lse, a, starts=starts, slopes=slopes), i=[1], wrt=[])
    case("attention_spread/blocks", "attention_spread",
         [f32(2, 70, 2, 8), f32(2, 70, 1, 8), f32(2, 2, 70, lo=1.0, hi=4.0), f32(2, 2, lo=0.0, hi=0.1),
          i32(2, 70, 2, 3, lo=-1, hi=6)],
         lambda q, k, lse, a, lists: spread(q, k, lse, a, seen=seen_of(q.shape[:3], 70, 0, 0, 7, 0, None, lists)),
         i=[1, 0, 0, 7], wrt=[])


def documents(tokens):
    """Where the document of each token starts in its row, and how far it is from there; token 4 ends a document."""
    starts = torch.zeros_like(tokens)
    for row in range(tokens.shape[0]):
        for t in range(1, tokens.shape[1]):
            starts[row, t] = t if tokens[row, t - 1] == 4 else starts[row, t - 1]
    return starts.double(), (torch.arange(tokens.shape[1]) - starts).double()


def topk_mask(x, k):
    """1 at the k largest |x| of each row; of equal ones the first."""
    order = x.abs().sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(x).scatter(-1, order, 1.0)


def losses():
    def lm_loss(x, w, t, cap=0):
        z = x @ w.T
        return F.cross_entropy(cap * torch.tanh(z / cap) if cap else z, t, ignore_index=-1, reduction="none")

    def terms(x, w, t, cap):
        z = cap * torch.tanh(x @ w.T / cap)
        lse = torch.logsumexp(z, -1)
        return torch.stack([lse ** 2, lse - z.mean(-1)]) * (t >= 0)

    for name, n, width, vocabulary in (("", 6, 8, 13), ("/large", 150, 70, 1031), ("/wide", 70, 16, 20011)):
        case("lm_loss" + name, "lm_loss", [f32(n, width), f32(vocabulary, width, lo=-0.5, hi=0.5),
                                           i32(n, lo=-1, hi=vocabulary)], lm_loss, differences=not name)
    for name, n, width, vocabulary, cap in (("/cap", 6, 8, 13, 1.5), ("/cap_wide", 70, 16, 5011, 0.7)):
        inputs = [f32(n, width), f32(vocabulary, width, lo=-0.5, hi=0.5), i32(n, lo=-1, hi=vocabulary)]
        case("lm_loss" + name, "lm_loss", inputs, lambda x, w, t: lm_loss(x, w, t, cap), f=[cap],
             differences=n < 10)
        case("lm_loss/terms" + name, "lm_loss", inputs,
             lambda x, w, t: (lm_loss(x, w, t, cap), terms(x, w, t, cap)), f=[cap], result=1, differences=n < 10)
    for name, shape, k, levels in (("", (6, 37), 5, 0), ("/ties", (5, 40), 13, 4), ("/all", (2, 3, 8), 8, 0),
                                   ("/large", (3, 5000), 1700, 0)):
        case("topk_mask" + name, "topk_mask", [f32(*shape, steps=levels)], lambda x: topk_mask(x, k), i=[k], wrt=[])
    case("argmax", "argmax", [f32(6, 37)], lambda x: x.argmax(-1).double(), wrt=[])
    case("argmax/ties", "argmax", [f32(6, 37, lo=0, hi=3, steps=3)],
         lambda x: (x == x.amax(-1, keepdim=True)).int().argmax(-1).double(), wrt=[])


def main():
    elementwise()
    reductions()
    moves()
    tables()
    softmaxes()
    products()
    experts()
    norms()
    attentions()
    losses()
    sparse_attentions()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.json")
    head = {"made_by": "make_ops.py", "torch": torch.__version__, "samples": SAMPLES, "stride": STRIDE,
            "projection_seed": PROJECTION_SEED}
    with open(path, "w") as out:
        out.write(json.dumps(head)[:-1] + ', "cases": [\n')
        out.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]}\n")
    print(f"{len(cases)} cases, {os.path.getsize(path)} bytes", file=sys.stderr)


main()

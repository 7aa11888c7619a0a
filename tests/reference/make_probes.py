"""Writes a tiny Llama folder and what every probe must find in it, from the definitions in doc/probes.md.

Plain PyTorch in float64, one window and one intervention at a time; Jacobians and gradients by autograd, least squares
and singular values by torch.linalg. Only the architecture comes from make_llama.py. Run in this folder:
/usr/bin/python3 make_probes.py
"""
import json
import math
import os

import torch

from make_llama import rms_norm, rotate, save_safetensors, weights

FOLDER, WINDOWS, T = "llama_probes", 6, 20


def attention(w, c, i, h):
    """Output of the attention branch [T, D] for its normed input, and its weights [H, T, T]."""
    p, heads, kv, dh = f"model.layers.{i}.self_attn.", c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    t = h.shape[0]
    q = rotate((h @ w[p + "q_proj.weight"].T).view(t, heads, dh), c["rope_theta"])
    k = rotate((h @ w[p + "k_proj.weight"].T).view(t, kv, dh), c["rope_theta"]).repeat_interleave(heads // kv, 1)
    v = (h @ w[p + "v_proj.weight"].T).view(t, kv, dh).repeat_interleave(heads // kv, 1)
    score = torch.einsum("thd,shd->hts", q, k) / dh**0.5
    share = score.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf")).softmax(-1)
    return torch.einsum("hts,shd->thd", share, v).reshape(t, heads * dh) @ w[p + "o_proj.weight"].T, share


def hidden(w, i, h):
    p = f"model.layers.{i}.mlp."
    gate = h @ w[p + "gate_proj.weight"].T
    return gate * torch.sigmoid(gate) * (h @ w[p + "up_proj.weight"].T)


def ffn(w, i, h):
    return hidden(w, i, h) @ w[f"model.layers.{i}.mlp.down_proj.weight"].T


def block(w, c, i, x, seen=None):
    """The stream after block i; what happens inside goes into the dict `seen`."""
    p, eps = f"model.layers.{i}.", c["rms_norm_eps"]
    seen = {} if seen is None else seen
    seen["attn_in"] = x
    a, seen["share"] = attention(w, c, i, rms_norm(x, w[p + "input_layernorm.weight"], eps))
    x = x + a
    f = ffn(w, i, rms_norm(x, w[p + "post_attention_layernorm.weight"], eps))
    seen.update(attn=a, ffn=f, ffn_in=x)
    return x + f


def run(w, c, tokens, blocks):
    """Streams h_0 .. of one window through functions of the stream."""
    h = [w["model.embed_tokens.weight"][tokens]]
    for f in blocks:
        h.append(f(h[-1]))
    return h


def logits(w, c, x):
    return rms_norm(x, w["model.norm.weight"], c["rms_norm_eps"]) @ w["lm_head.weight"].T


def loss(w, c, x, targets):
    return torch.nn.functional.cross_entropy(logits(w, c, x), targets)


def cosine(a, b):
    return (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)


def angle(a, b):
    return torch.acos(cosine(a, b).clamp(-1, 1)) / math.pi


def mean(values):
    return (sum(values) / len(values)).item()


def measure(w, c, windows):
    depth, d = c["num_hidden_layers"], c["hidden_size"]
    layers = [lambda x, i=i: block(w, c, i, x) for i in range(depth)]
    streams = [run(w, c, x, layers) for x, _ in windows]
    seen = []
    for h in streams:
        seen.append([{} for _ in range(depth)])
        for i in range(depth):
            block(w, c, i, h[i], seen[-1][i])
    each = range(depth)

    def mean_loss(functions, chosen=windows):
        return mean([loss(w, c, run(w, c, x, functions)[-1], y) for x, y in chosen])

    whole, out = mean_loss(layers), {}

    def over(f):
        return [mean([f(n, i) for n in range(len(windows))]) for i in each]

    out["variance"] = over(lambda n, i: streams[n][i + 1].var(-1).mean())
    out["variance_uncentred"] = over(lambda n, i: streams[n][i + 1].pow(2).mean())
    for part in "attn", "ffn":
        out[part + "_variance"] = over(lambda n, i: seen[n][i][part].var(-1).mean())
        out[part + "_variance_uncentred"] = over(lambda n, i: seen[n][i][part].pow(2).mean())

    def distances(last):
        rows = []
        for k in range(1, depth + 1):
            rows.append([mean([angle(h[i], h[i + k])[-1 if last else slice(None)].mean() for h in streams])
                         for i in range(depth - k + 1)])
        return rows

    out["angular_distances"], out["angular_distances_all"] = distances(True), distances(False)
    out["angular_distance"], out["angular_distance_all"] = out["angular_distances"][0], out["angular_distances_all"][0]
    out["block_influence"] = over(lambda n, i: 1 - cosine(streams[n][i], streams[n][i + 1]).mean())

    def without(first, last):
        return [f for i, f in enumerate(layers) if not first <= i <= last]

    out["layer_removal_ranges"] = [[mean_loss(without(i, i + k - 1)) - whole for i in range(depth - k + 1)]
                                   for k in range(1, depth + 1)]
    out["layer_removal"] = out["layer_removal_ranges"][0]

    def swapped(a, b):
        order = list(each)
        order[a], order[b] = b, a
        return [layers[i] for i in order]

    out["permutation"] = [[abs(mean_loss(swapped(a, b)) - whole) / whole if a != b else 0.0 for b in each]
        for a in each]
    out["permutation score"] = sum(map(sum, out["permutation"])) / (depth * (depth - 1))

    means = [sum(row) / (depth - 1) for row in out["permutation"]]
    out["permutation weighted"] = sum(0.9**i * m for i, m in enumerate(means)) / depth

    def hsic_0(x, y):
        centre = torch.eye(T).double() - 1 / T
        return torch.trace(x @ x.T @ centre @ y @ y.T @ centre) / (T - 1) ** 2

    def hsic_1(x, y):
        a, b, one = x @ x.T, y @ y.T, torch.ones(T).double()
        a, b = a - a.diagonal().diag(), b - b.diagonal().diag()
        return (torch.trace(a @ b) + (one @ a @ one) * (one @ b @ one) / ((T - 1) * (T - 2))
                - 2 / (T - 2) * (one @ a @ b @ one)) / (T * (T - 3))

    for name, hsic in ("cka", hsic_0), ("cka_unbiased", hsic_1):
        both = [[mean([hsic(h[i + 1], h[j + 1]) for h in streams]) for j in each] for i in each]
        out[name] = [[both[i][j] / math.sqrt(both[i][i] * both[j][j]) for j in each] for i in each]
        out[name + " neighbours"] = sum(out[name][i][i + 1] for i in range(depth - 1)) / (depth - 1)

    def causal(s, later):
        if later <= s:
            return 0.0
        above = below = 0
        for (x, _), h in zip(windows, streams):
            skipped = [layers[i] if i != s else (lambda x: x) for i in each]
            g = run(w, c, x, skipped)
            own = h[later + 1] - h[later]
            above += (g[later + 1] - g[later] - own).norm(dim=-1).mean()
            below += own.norm(dim=-1).mean()
        return (above / below).item()

    out["causal"] = [[causal(s, later) for later in each] for s in each]
    out["causal score"] = sum(map(sum, out["causal"])) / (depth * (depth - 1) / 2)

    def fitted(i, chosen):
        x = torch.cat([streams[n][i] for n in chosen])
        y = torch.cat([streams[n][i + 1] for n in chosen])
        z = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1).double()], 1), y).solution
        return layers[:i] + [lambda x: x @ z[:-1] + z[-1]] + layers[i + 1 :]

    n = range(len(windows))
    out["usefulness"] = [mean_loss(fitted(i, n)) / whole for i in each]
    halves = [n[0::2], n[1::2]]
    out["usefulness_held_out"] = [
        sum(mean_loss(fitted(i, halves[1 - k]), [windows[j] for j in halves[k]]) * len(halves[k])
            for k in (0, 1)) / len(n)
        / whole for i in each]
    for name in "usefulness", "usefulness_held_out":
        out[name + " score"] = sum(x > 1.10 for x in out[name]) / depth

    def gradients(k):
        """By each block's input and through each of its norms alone, of window k's mean loss."""
        x = streams[k][0].clone().requires_grad_()
        inputs, norm_in, norm_out = [], [], []
        for i in each:
            p, eps = f"model.layers.{i}.", c["rms_norm_eps"]
            inputs.append(x)
            for name, branch in ("input_layernorm", lambda h: attention(w, c, i, h)[0]), ("post_attention_layernorm",
                                                                                         lambda h: ffn(w, i, h)):
                y = rms_norm(x, w[p + name + ".weight"], eps)
                norm_in.append(x), norm_out.append(y)
                x = x + branch(y)
        g = torch.autograd.grad(loss(w, c, x, windows[k][1]), inputs + norm_out)
        through = []
        for a, gain, up in zip(norm_in, [f"model.layers.{i}.{s}.weight" for i in each for s in (
                "input_layernorm", "post_attention_layernorm")], g[depth:]):
            a = a.detach().requires_grad_()
            through += torch.autograd.grad(rms_norm(a, w[gain], c["rms_norm_eps"]), a, up)
        return [x.norm() for x in g[:depth]], [x.norm() for x in through]

    both = [gradients(k) for k in n]
    out["gradient_norm"] = [mean([b[0][i] for b in both]) for i in each]
    out["norm_gradient"] = [[mean([b[1][2 * i + j] for b in both]) for j in (0, 1)] for i in each]

    def jacobian(i):
        total = 0
        for h in streams:
            j = torch.autograd.functional.jacobian(layers[i], h[i])     # [t, i, s, j]
            total = total + j.sum((0, 2)) / h[i].shape[0]
        return total / len(streams)

    out["jacobian"] = []
    for i in each:
        j = jacobian(i)
        eye, diagonal = torch.eye(d).double(), j.diagonal()
        out["jacobian"].append([((j - eye).norm() / d).item(),
            ((j - diagonal.diag()).norm() / math.sqrt(d * d - d)).item(),
                                diagonal.mean().item(), diagonal.std().item(), j.norm().item(),
                                torch.linalg.matrix_norm(j, 2).item()])

    out["lens_loss"] = over(lambda n, i: loss(w, c, streams[n][i + 1], windows[n][1]))
    best = [logits(w, c, h[-1]).argmax(-1) for h in streams]
    out["lens_agreement"] = over(lambda n, i: (logits(w, c, streams[n][i + 1]).argmax(-1) == best[n]).double().mean())

    def rank(x):
        s = torch.linalg.svdvals(x)
        p = s / s.sum()
        return torch.exp(-(p * p.clamp_min(1e-300).log()).sum())

    out["effective_rank"] = over(lambda n, i: rank(streams[n][i + 1]))

    def entropy(share):
        return -(share * share.clamp_min(1e-300).log()).sum(-1).mean(-1)

    parts = ["self_attn." + x for x in ("q_proj", "k_proj", "v_proj", "o_proj")]
    parts += ["mlp." + x for x in ("gate_proj", "up_proj", "down_proj")]

    def near_zero(t):
        return [(t.abs() <= bound).double().mean().item()
                for bound in (1e-3, 3e-3, 1e-2, 0.01 * t.std(), 0.1 * t.std())]

    out["weight_sparsity_matrices"], out["weight_sparsity"], counts = [], [], []
    for i in each:
        own = [w[f"model.layers.{i}.{part}.weight"] for part in parts]
        shares, sizes = [near_zero(t) for t in own], [t.numel() for t in own]
        counts.append(sum(sizes))
        out["weight_sparsity_matrices"].append(sum(shares, []))
        out["weight_sparsity"].append([sum(s[k] * n for s, n in zip(shares, sizes)) / sum(sizes) for k in range(5)])
    for k, name in enumerate(("1e-3", "3e-3", "1e-2", "sd_over_100", "sd_over_10")):
        rows = out["weight_sparsity"]
        out["weight_sparsity total_" + name] = sum(r[k] * n for r, n in zip(rows, counts)) / sum(counts)

    def idle(n, i):
        norm = rms_norm(seen[n][i]["ffn_in"], w[f"model.layers.{i}.post_attention_layernorm.weight"],
                        c["rms_norm_eps"])
        h = hidden(w, i, norm)
        rms = h.pow(2).mean(-1, keepdim=True).sqrt()
        return [(h.abs() <= r * rms).double().mean() for r in (0, 0.01, 0.1)]

    out["activation_sparsity"] = [[mean([idle(k, i)[r] for k in n]) for r in range(3)] for i in each]

    def by_head(measure):
        return [(sum(measure(s[i]["share"]) for s in seen) / len(seen)).tolist() for i in each]

    n = torch.arange(1, T + 1).double()               # keys that each query sees
    visible = torch.ones(T, T, dtype=torch.bool).tril()

    def below(share, bound):
        return (((share < bound[:, None]) & visible).sum(-1) / n).mean(-1)

    out["attention_entropy"] = by_head(entropy)
    out["attention_entropy_normalised"] = by_head(
        lambda share: (-(share * share.clamp_min(1e-300).log()).sum(-1)[:, 1:] / n[1:].log()).mean(-1))
    for name, bound in (("milli", 1e-3 + 0 * n), ("centi", 1e-2 + 0 * n), ("tenth", 0.1 / n), ("hundredth", 0.01 / n)):
        out["attention_sparsity_" + name] = by_head(lambda share: below(share, bound))
    return out


def text_of(w, c, generator):
    """Tokens that the model itself chooses, so that it predicts them better than it does without a block."""
    ids = torch.zeros(1, dtype=torch.long)
    layers = [lambda x, i=i: block(w, c, i, x) for i in range(c["num_hidden_layers"])]
    while len(ids) < WINDOWS * T + 1:
        seen = ids[(len(ids) - 1) // T * T :]
        chance = (1.5 * logits(w, c, run(w, c, seen, layers)[-1][-1])).softmax(-1)
        ids = torch.cat([ids, torch.multinomial(chance, 1, generator=generator)])
    return ids


def rounded(x):
    return [rounded(y) for y in x] if isinstance(x, list) else float("%.9g" % x)


if __name__ == "__main__":
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 23, "hidden_size": 16,
              "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
              "intermediate_size": 24, "rms_norm_eps": 1e-5, "rope_theta": 500.0, "max_position_embeddings": 32,
              "hidden_act": "silu", "tie_word_embeddings": False, "rope_scaling": None, "attention_bias": False,
              "torch_dtype": "float32"}
    generator = torch.Generator().manual_seed(4)
    w = weights(config, False, generator)
    exact = {name: t.double() for name, t in w.items()}
    ids = text_of(exact, config, generator)
    os.makedirs(FOLDER, exist_ok=True)
    save_safetensors(f"{FOLDER}/model.safetensors", w)
    with open(f"{FOLDER}/config.json", "w") as f:
        json.dump(config, f, indent=1)
    windows = [(ids[k * T : (k + 1) * T], ids[k * T + 1 : (k + 1) * T + 1]) for k in range(WINDOWS)]
    found = measure(exact, config, windows)
    with open(f"{FOLDER}/expected.json", "w") as f:
        json.dump({"context": T, "tokens": ids.tolist(), "probes": {k: rounded(v) for k, v in found.items()}}, f,
            indent=1)

"""Writes what pruning by width must find in the model of llama_probes: importances, what stays, the loss without it.

Plain PyTorch in float64: masks of ones with a gradient by autograd (the definition of MiniMA's code), activations after
Minitron, and a parent whose masks are 0 where units are removed, with norms over the features that are left. Run in
this folder: /usr/bin/python3 make_width.py
"""
import json
import struct

import torch

from make_llama import rotate

FOLDER, BATCH = "llama_probes", 3


def load(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, body, out = json.loads(raw[8 : 8 + size]), raw[8 + size :], {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = torch.frombuffer(bytearray(body[first:last]), dtype=torch.float32)
            out[name] = flat.view(entry["shape"]).double()
    return out


def norm(x, gain, eps, hidden):
    left = hidden != 0
    y = torch.zeros_like(x)
    rest = x[..., left]
    y[..., left] = rest * torch.rsqrt(rest.pow(2).mean(-1, keepdim=True) + eps) * gain[left]
    return y


def mean_loss(w, c, tokens, targets, masks, skip=(), seen=None):
    """Mean loss of windows [B, T]; masks: heads [L, KV], neurons [L, F], hidden [D]; skip: names of branches."""
    heads, kv, dh, eps = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["rms_norm_eps"]
    hidden, (b, t) = masks["hidden"], tokens.shape
    seen = {} if seen is None else seen
    x = w["model.embed_tokens.weight"][tokens] * hidden
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        if f"attn {i}" not in skip:
            h = seen[f"norm {2 * i}"] = norm(x, w[p + "input_layernorm.weight"], eps, hidden)

            def projected(name, n):
                y = (h @ w[p + f"self_attn.{name}_proj.weight"].T).view(b, t, n, dh)
                return torch.stack([rotate(row, c["rope_theta"]) for row in y]) if name != "v" else y

            q, k, v = projected("q", heads), projected("k", kv), projected("v", kv)
            k, v = k.repeat_interleave(heads // kv, 2), v.repeat_interleave(heads // kv, 2)
            score = torch.einsum("bthd,bshd->bhts", q, k) / dh**0.5
            share = score.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf")).softmax(-1)
            share = share * masks["groups"][i].repeat_interleave(heads // kv)[None, :, None, None]
            y = seen[f"attn {i}"] = torch.einsum("bhts,bshd->bthd", share, v).reshape(b, t, heads * dh)
            x = (x + (y @ w[p + "self_attn.o_proj.weight"].T) * hidden) * hidden
        if f"ffn {i}" not in skip:
            h = seen[f"norm {2 * i + 1}"] = norm(x, w[p + "post_attention_layernorm.weight"], eps, hidden)
            gate = h @ w[p + "mlp.gate_proj.weight"].T
            y = gate * torch.sigmoid(gate) * (h @ w[p + "mlp.up_proj.weight"].T)
            y = seen[f"ffn {i}"] = y * masks["neurons"][i]
            x = (x + (y @ w[p + "mlp.down_proj.weight"].T) * hidden) * hidden
    x = seen["norm last"] = norm(x, w["model.norm.weight"], eps, hidden)
    return torch.nn.functional.cross_entropy((x @ w["lm_head.weight"].T).flatten(0, 1), targets.flatten())


def ones(c):
    depth = c["num_hidden_layers"]
    return {
        "groups": torch.ones(depth, c["num_key_value_heads"]).double(),
        "neurons": torch.ones(depth, c["intermediate_size"]).double(), "hidden": torch.ones(c["hidden_size"]).double(),
    }


def by_gate(w, c, batches):
    masks = {name: mask.requires_grad_(True) for name, mask in ones(c).items()}
    sums = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for tokens, targets in batches:
        grads = torch.autograd.grad(mean_loss(w, c, tokens, targets, masks), list(masks.values()))
        for name, grad in zip(masks, grads):
            sums[name] += grad.abs() / len(batches)
    return {name: value / (value.norm(dim=-1, keepdim=True) + 1e-17) for name, value in sums.items()}


def by_activation(w, c, batches):
    depth, kv, sums = c["num_hidden_layers"], c["num_key_value_heads"], {}
    for tokens, targets in batches:
        seen = {}
        mean_loss(w, c, tokens, targets, ones(c), seen=seen)

        def over(x):
            return x.mean(1).pow(2).sum(0).sqrt()

        b, t = tokens.shape
        found = {
            "groups": torch.stack([over(seen[f"attn {i}"].view(b, t, kv, -1).norm(dim=-1)) for i in range(depth)]),
            "neurons": torch.stack([over(seen[f"ffn {i}"].abs()) for i in range(depth)]),
            "hidden": sum(over(x.abs()) for name, x in seen.items() if name.startswith("norm")),
        }
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + value
    return {name: value / value.norm(dim=-1, keepdim=True) for name, value in sums.items()}


def eight(x):
    return round(x / 8) * 8


def removed(scores, c, ratio):
    """Masks and skipped branches of MiniMA's map at a share of the parameters."""
    percent = 100 - round(100 * (1 - ratio) ** 0.5)
    masks, skip = {name: mask.detach().clone() for name, mask in ones(c).items()}, set()
    size = c["head_dim"] * c["num_attention_heads"] // c["num_key_value_heads"]
    for name, each, branch in ("groups", size, "attn"), ("neurons", 1, "ffn"):
        flat = scores[name].flatten().tolist()
        lowest = sorted(range(len(flat)), key=lambda k: flat[k])[: round(percent / 100 * len(flat))]
        units = scores[name].shape[1]
        for i in range(c["num_hidden_layers"]):
            count = eight(sum(1 for k in lowest if k // units == i) * each) // each
            if (units - count) * each < 8:
                skip.add(f"{branch} {i}")
            order = sorted(range(units), key=lambda k: -scores[name][i, k].item())
            for k in order[units - count :]:
                masks[name][i, k] = 0
    d = c["hidden_size"]
    order = sorted(range(d), key=lambda k: -scores["hidden"][k].item())
    for k in order[d - eight(round(percent / 100 * d)) :]:
        masks["hidden"][k] = 0
    return masks, skip


def main():
    c, w = json.load(open(FOLDER + "/config.json")), load(FOLDER + "/model.safetensors")
    given = json.load(open(FOLDER + "/expected.json"))
    ids, t = torch.tensor(given["tokens"]), given["context"]
    rows = (len(ids) - 1) // t
    windows = [(ids[i * t : i * t + t], ids[i * t + 1 : i * t + t + 1]) for i in range(rows)]
    batches = []
    for first in range(0, rows - rows % BATCH, BATCH):
        part = windows[first : first + BATCH]
        batches.append((torch.stack([x for x, _ in part]), torch.stack([y for _, y in part])))
    every = torch.stack([x for x, _ in windows]), torch.stack([y for _, y in windows])
    out = {"batch": BATCH, "context": t, "loss": mean_loss(w, c, *every, ones(c)).item(), "methods": {}}
    for name, measure in ("gate", by_gate), ("activation", by_activation):
        scores = measure(w, c, batches)
        found = out["methods"][name] = {"importance": {k: v.tolist() for k, v in scores.items()}, "ratios": []}
        for ratio in 0.2, 0.5, 0.8, 0.9:
            masks, skip = removed(scores, c, ratio)
            left = {k: v.sum(-1).long().tolist() for k, v in masks.items()}
            found["ratios"].append({
                "ratio": ratio, "left": left, "skip": sorted(skip),
                "loss": mean_loss(w, c, *every, masks, skip).item(),
            })
    json.dump(out, open("width.json", "w"), indent=1)


main()

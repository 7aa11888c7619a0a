#!/usr/bin/python3
"""make_llamas.py - tiny folders of what is built like Llama, with the logits and losses of an independent forward pass.

    /usr/bin/python3 make_llamas.py        (in this folder; Debian's python3-torch)

Plain PyTorch in f64, written from the definition of each architecture and the defaults of its configuration class: what
config.json does not say is looked up in DEFAULTS. Each folder has weights, a config.json, and expected.json with cases:
keys that are changed in the config.json or taken out of it, and what the same weights give then.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

from make_llama import save_safetensors

BASE = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048, "rope_theta": 10000.0, "tie_word_embeddings": False, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False}
DEFAULTS = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "max_position_embeddings": 32768, "use_sliding_window": False,
              "sliding_window": 4096, "max_window_layers": 28, "layer_types": None},
    "qwen3": {"num_key_value_heads": 32, "max_position_embeddings": 32768, "use_sliding_window": False, "head_dim": 128,
              "sliding_window": 4096, "max_window_layers": 28, "layer_types": None},
    "olmo": {"clip_qkv": None},
    "olmo2": {"rms_norm_eps": 1e-5},
    "gemma": {"num_key_value_heads": 16, "head_dim": 256, "tie_word_embeddings": True, "hidden_activation": None,
              "hidden_act": "gelu_pytorch_tanh"},
    "gemma2": {"num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True, "sliding_window": 4096,
               "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "layer_types": None,
               "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "phi3": {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
             "sliding_window": None},
    "smollm3": {"num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": True, "no_rope_layers": None,
                "no_rope_layer_interval": 4, "use_sliding_window": False, "sliding_window": None, "layer_types": None},
    "granite": {"embedding_multiplier": 1.0, "attention_multiplier": 1.0, "residual_multiplier": 1.0,
                "logits_scaling": 1.0},
    "mixtral": {"intermediate_size": 14336, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
                "max_position_embeddings": 131072, "sliding_window": None, "num_local_experts": 8,
                "num_experts_per_tok": 2},
    "olmoe": {"hidden_size": 2048, "intermediate_size": 2048, "num_attention_heads": 16, "rms_norm_eps": 1e-5,
              "max_position_embeddings": 4096, "clip_qkv": None, "num_experts": 64, "num_experts_per_tok": 8,
              "norm_topk_prob": False},
    "qwen3_moe": {"hidden_size": 2048, "intermediate_size": 6144, "num_key_value_heads": 4, "num_experts": 128,
                  "max_position_embeddings": 32768, "use_sliding_window": False, "sliding_window": 4096,
                  "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": False,
                  "decoder_sparse_step": 1, "mlp_only_layers": []},
    "qwen2_moe": {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16,
                  "max_position_embeddings": 32768, "use_sliding_window": False, "sliding_window": 4096,
                  "max_window_layers": 28, "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
                  "shared_expert_intermediate_size": 5632, "norm_topk_prob": False, "decoder_sparse_step": 1,
                  "mlp_only_layers": []},
}
MIXTURES = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "olmo": "Olmo", "olmo2": "Olmo2",
           "gemma": "Gemma", "gemma2": "Gemma2", "phi3": "Phi3", "smollm3": "SmolLM3", "granite": "Granite",
           "mixtral": "Mixtral", "olmoe": "Olmoe", "qwen2_moe": "Qwen2Moe", "qwen3_moe": "Qwen3Moe"}
ACTS = {"silu": F.silu, "swish": F.silu, "gelu": F.gelu, "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "relu2": lambda x: F.relu(x) ** 2,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "tanh": torch.tanh, "mish": F.mish}


class Config:
    """A config.json with the defaults of its class."""

    def __init__(self, tree):
        self.kind = tree["model_type"]
        self.tree = {**BASE, **DEFAULTS[self.kind], **tree}

    def __getattr__(self, name):
        return self.tree.get(name)

    @property
    def experts(self):
        return self.tree.get("num_experts") or self.tree["num_local_experts"]

    @property
    def heads(self):
        return self.tree["num_attention_heads"]

    @property
    def kv(self):
        return self.tree["num_key_value_heads"] or self.heads

    @property
    def width(self):
        return self.tree["head_dim"] or self.tree["hidden_size"] // self.heads


def windows(c):
    """The window of each layer, or None."""
    n, w = c.num_hidden_layers, c.sliding_window
    if c.kind in ("mistral", "mixtral", "phi3"):
        return [w] * n
    if c.kind == "qwen3_moe":
        return [w if c.use_sliding_window else None] * n
    if c.kind in ("qwen2", "qwen2_moe", "qwen3"):
        types = c.layer_types or ["sliding_attention" if i >= c.max_window_layers else "full_attention"
                                  for i in range(n)]
        return [w if c.use_sliding_window and t == "sliding_attention" else None for t in types]
    if c.kind == "gemma2":
        types = c.layer_types or ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(n)]
        return [w if t == "sliding_attention" else None for t in types]
    if c.kind == "smollm3":
        types = c.layer_types or ["full_attention" if r else "sliding_attention" for r in ropes(c)]
        return [w if c.use_sliding_window and t == "sliding_attention" else None for t in types]
    return [None] * n


def ropes(c):
    """Whether each layer turns queries and keys."""
    n = c.num_hidden_layers
    if c.kind != "smollm3":
        return [True] * n
    return [bool(r) for r in c.no_rope_layers or [(i + 1) % c.no_rope_layer_interval != 0 for i in range(n)]]


def rope(c, length):
    """Frequencies of the pairs that are turned, and what cos and sin are multiplied by."""
    d = c.rope_scaling or c.rope_parameters or {}
    theta, kind = d.get("rope_theta", c.rope_theta), d.get("rope_type", d.get("type", "default"))
    partial = d.get("partial_rotary_factor", c.partial_rotary_factor or 1.0) if c.kind == "phi3" else 1.0
    r, most = int(c.width * partial), c.max_position_embeddings
    v = theta ** (-torch.arange(0, r, 2).double() / r)
    if c.kind == "phi3":
        kind = {"su": "longrope", "yarn": "longrope"}.get(kind, kind)
    original = d.get("original_max_position_embeddings", most)
    if c.kind == "phi3":
        original = c.original_max_position_embeddings
    factor = d.get("factor")
    if kind == "linear":
        return v / factor, 1.0
    if kind == "dynamic":
        t = max(length, most)
        theta *= (factor * t / most - (factor - 1)) ** (r / (r - 2))
        return theta ** (-torch.arange(0, r, 2).double() / r), 1.0
    if kind == "llama3":
        low, high, wave = d["low_freq_factor"], d["high_freq_factor"], 2 * math.pi / v
        s = (original / wave - low) / (high - low)
        blend = (1 - s) * v / factor + s * v
        return torch.where(wave < original / high, v, torch.where(wave > original / low, v / factor, blend)), 1.0
    if kind == "yarn":
        factor = factor or most / original

        def pair(n):
            return r * math.log(original / (n * 2 * math.pi)) / (2 * math.log(theta))

        def m(s):
            return 1.0 if factor <= 1 else 0.1 * s * math.log(factor) + 1
        low, high = pair(d.get("beta_fast") or 32), pair(d.get("beta_slow") or 1)
        if d.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, r - 1)
        ramp = ((torch.arange(r // 2).double() - low) / (high - low if high != low else 0.001)).clamp(0, 1)
        a = d.get("attention_factor")
        if a is None:
            both = d.get("mscale") and d.get("mscale_all_dim")
            a = m(d["mscale"]) / m(d["mscale_all_dim"]) if both else m(1)
        return v * (1 - ramp) + v / factor * ramp, a
    if kind == "longrope":
        ext = d["long_factor"] if length > original else d["short_factor"]
        factor = factor or most / original
        a = d.get("attention_factor")
        if a is None:
            a = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        return v / torch.tensor(ext).double(), a
    return v, 1.0


def turn(x, frequencies, amplitude):
    """x [T, H, h]: the first 2 n of each head."""
    n = frequencies.shape[0]
    angle = torch.arange(x.shape[0]).double()[:, None, None] * frequencies
    cos, sin = amplitude * angle.cos(), amplitude * angle.sin()
    a, b, rest = x[..., :n], x[..., n:2 * n], x[..., 2 * n:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def rms(x, w, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * w


def attention(c, w, p, x, frequencies, amplitude, window):
    t, h = x.shape[0], c.width
    if p + "qkv_proj.weight" in w:
        q, k, v = (x @ w[p + "qkv_proj.weight"].T).split([c.heads * h, c.kv * h, c.kv * h], -1)
    else:
        q, k, v = (F.linear(x, w[p + n + "_proj.weight"], w.get(p + n + "_proj.bias")) for n in "qkv")
    if c.kind in ("olmo2", "olmoe"):
        q, k = rms(q, w[p + "q_norm.weight"], c.rms_norm_eps), rms(k, w[p + "k_norm.weight"], c.rms_norm_eps)
    if c.clip_qkv is not None:
        q, k, v = (y.clamp(-c.clip_qkv, c.clip_qkv) for y in (q, k, v))
    q, k, v = q.view(t, c.heads, h), k.view(t, c.kv, h), v.view(t, c.kv, h)
    if c.kind in ("qwen3", "qwen3_moe"):
        q, k = rms(q, w[p + "q_norm.weight"], c.rms_norm_eps), rms(k, w[p + "k_norm.weight"], c.rms_norm_eps)
    if frequencies is not None:
        q, k = turn(q, frequencies, amplitude), turn(k, frequencies, amplitude)
    k, v = k.repeat_interleave(c.heads // c.kv, 1), v.repeat_interleave(c.heads // c.kv, 1)
    scale = h ** -0.5
    if c.kind == "gemma2":
        scale = c.query_pre_attn_scalar ** -0.5
    if c.kind == "granite":
        scale = c.attention_multiplier
    score = torch.einsum("thd,shd->hts", q, k) * scale
    if c.attn_logit_softcapping is not None:
        score = c.attn_logit_softcapping * torch.tanh(score / c.attn_logit_softcapping)
    back = torch.arange(t)[:, None] - torch.arange(t)[None, :]
    hidden = back < 0 if window is None else (back < 0) | (back >= window)
    weight = score.masked_fill(hidden, -math.inf).softmax(-1)
    y = torch.einsum("hts,shd->thd", weight, v).reshape(t, -1)
    return F.linear(y, w[p + "o_proj.weight"], w.get(p + "o_proj.bias"))


def mlp(c, w, p, x):
    if p + "gate_up_proj.weight" in w:
        gate, up = (x @ w[p + "gate_up_proj.weight"].T).chunk(2, -1)
    else:
        gate, up = (F.linear(x, w[p + n + "_proj.weight"], w.get(p + n + "_proj.bias")) for n in ("gate", "up"))
    name = c.hidden_act
    if c.kind in ("gemma", "gemma2"):
        name = c.hidden_activation or c.hidden_act
    return F.linear(ACTS[name](gate) * up, w[p + "down_proj.weight"], w.get(p + "down_proj.bias"))


def sparse(c, i):
    """Whether layer i has experts."""
    if c.kind in ("qwen2_moe", "qwen3_moe"):
        return i not in c.mlp_only_layers and (i + 1) % c.decoder_sparse_step == 0
    return c.kind in MIXTURES


def expert_names(c):
    """Of a layer: the router; of an expert with %d for its number gate, up and down; how many experts there are."""
    if c.kind == "mixtral":
        return ("block_sparse_moe.gate", *(f"block_sparse_moe.experts.%d.w{n}" for n in (1, 3, 2)), c.experts)
    return ("mlp.gate", *(f"mlp.experts.%d.{n}_proj" for n in ("gate", "up", "down")), c.experts)


def mixture(c, w, p, x):
    """x [T, d], token by token and expert by expert."""
    router, gate, up, down, count = expert_names(c)
    scores = (x @ w[p + router + ".weight"].T).softmax(-1)
    weight, chosen = scores.topk(c.num_experts_per_tok, -1)
    if c.kind == "mixtral" or c.norm_topk_prob:
        weight = weight / weight.sum(-1, keepdim=True)

    def run(x, gate, up, down):
        return (ACTS[c.hidden_act](x @ w[p + gate + ".weight"].T) * (x @ w[p + up + ".weight"].T)) @ w[
            p + down + ".weight"].T
    rows = []
    for t in range(len(x)):
        rows.append(sum(a * run(x[t], *(n % e for n in (gate, up, down))) for a, e in zip(weight[t],
                                                                                        chosen[t].tolist())))
    y = torch.stack(rows)
    if c.kind == "qwen2_moe":
        shared = run(x, *(f"mlp.shared_expert.{n}_proj" for n in ("gate", "up", "down")))
        y = y + torch.sigmoid(x @ w[p + "mlp.shared_expert_gate.weight"].T) * shared
    return y


def forward(w, c, tokens):
    """Logits [T, V] of one sequence."""
    x = w["model.embed_tokens.weight"][tokens]
    frequencies, amplitude = rope(c, len(tokens))
    if c.kind in ("gemma", "gemma2"):
        x = x * c.hidden_size ** 0.5
    if c.kind == "granite":
        x = x * c.embedding_multiplier

    def norm(y, name):
        if c.kind == "olmo":
            return F.layer_norm(y, y.shape[-1:], eps=1e-5)
        gain = w[name + ".weight"]
        return rms(y, 1 + gain if c.kind in ("gemma", "gemma2") else gain, c.rms_norm_eps)

    turned, seen = ropes(c), windows(c)
    for i in range(c.num_hidden_layers):
        p = f"model.layers.{i}."

        def attend(y):
            return attention(c, w, p + "self_attn.", y, frequencies if turned[i] else None, amplitude, seen[i])
        if c.kind == "olmo2":
            x = x + norm(attend(x), p + "post_attention_layernorm")
            x = x + norm(mlp(c, w, p + "mlp.", x), p + "post_feedforward_layernorm")
        elif c.kind == "gemma2":
            x = x + norm(attend(norm(x, p + "input_layernorm")), p + "post_attention_layernorm")
            y = mlp(c, w, p + "mlp.", norm(x, p + "pre_feedforward_layernorm"))
            x = x + norm(y, p + "post_feedforward_layernorm")
        else:
            factor = c.residual_multiplier if c.kind == "granite" else 1.0
            x = x + factor * attend(norm(x, p + "input_layernorm"))
            y = norm(x, p + "post_attention_layernorm")
            x = x + (mixture(c, w, p, y) if sparse(c, i) else factor * mlp(c, w, p + "mlp.", y))
    x = norm(x, "model.norm")
    head = w["model.embed_tokens.weight"] if c.tie_word_embeddings else w["lm_head.weight"]
    logits = x @ head.T
    if c.kind == "granite":
        logits = logits / c.logits_scaling
    if c.final_logit_softcapping is not None:
        logits = c.final_logit_softcapping * torch.tanh(logits / c.final_logit_softcapping)
    return logits


def shapes(c):
    d, f, q, kv = c.hidden_size, c.intermediate_size, c.heads * c.width, c.kv * c.width
    s = {"model.embed_tokens.weight": (c.vocab_size, d)}
    norms = {"olmo": [], "olmo2": ["post_attention_layernorm", "post_feedforward_layernorm"],
             "gemma2": ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                        "post_feedforward_layernorm"]}.get(c.kind, ["input_layernorm", "post_attention_layernorm"])
    for i in range(c.num_hidden_layers):
        p = f"model.layers.{i}."
        if c.kind == "phi3":
            s[p + "self_attn.qkv_proj.weight"], s[p + "mlp.gate_up_proj.weight"] = (q + 2 * kv, d), (2 * f, d)
        else:
            for n, rows in (("q", q), ("k", kv), ("v", kv)):
                s[p + f"self_attn.{n}_proj.weight"] = (rows, d)
                if c.attention_bias or c.kind in ("qwen2", "qwen2_moe"):
                    s[p + f"self_attn.{n}_proj.bias"] = (rows,)
            for n in ("gate", "up") if not sparse(c, i) else ():
                s[p + f"mlp.{n}_proj.weight"] = (f, d)
                if c.mlp_bias:
                    s[p + f"mlp.{n}_proj.bias"] = (f,)
        s[p + "self_attn.o_proj.weight"] = (d, q)
        if sparse(c, i):
            router, gate, up, down, count = expert_names(c)
            inner = c.moe_intermediate_size if c.kind in ("qwen2_moe", "qwen3_moe") else f
            s[p + router + ".weight"] = (count, d)
            for e in range(count):
                for n, shape in ((gate, (inner, d)), (up, (inner, d)), (down, (d, inner))):
                    s[p + n % e + ".weight"] = shape
            if c.kind == "qwen2_moe":
                inner = c.shared_expert_intermediate_size
                for n, shape in (("gate", (inner, d)), ("up", (inner, d)), ("down", (d, inner))):
                    s[p + f"mlp.shared_expert.{n}_proj.weight"] = shape
                s[p + "mlp.shared_expert_gate.weight"] = (1, d)
        else:
            s[p + "mlp.down_proj.weight"] = (d, f)
        if c.attention_bias:
            s[p + "self_attn.o_proj.bias"] = (d,)
        if c.mlp_bias:
            s[p + "mlp.down_proj.bias"] = (d,)
        if c.kind in ("olmo2", "olmoe", "qwen3", "qwen3_moe"):
            s[p + "self_attn.q_norm.weight"] = (q if c.kind in ("olmo2", "olmoe") else c.width,)
            s[p + "self_attn.k_norm.weight"] = (kv if c.kind in ("olmo2", "olmoe") else c.width,)
        for n in norms:
            s[p + n + ".weight"] = (d,)
    if c.kind != "olmo":
        s["model.norm.weight"] = (d,)
    if not c.tie_word_embeddings:
        s["lm_head.weight"] = (c.vocab_size, d)
    return s


def weights(c, generator):
    w = {}
    for name, shape in shapes(c).items():
        x = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight"):
            x = 0.1 * x + (0 if c.kind in ("gemma", "gemma2") else 1)
        elif "embed" in name and not c.tie_word_embeddings:
            x = x * 0.02                                    # so small that eps of 1e-5 and 1e-6 are apart
        elif "mlp" in name and c.kind == "gemma":
            x = x * 0.8                                     # the two forms of GELU are apart by 5e-4 at most
        else:
            x = x * (0.35 if len(shape) > 1 else 0.3)
            if shape[-1] > 64:
                x = x * (16 / shape[-1]) ** 0.5             # or f32 loses more than is compared
        w[name] = x
    return w


def gradients(w, c, rows):
    """Of the sum of all losses by each tensor: its sum and its norm."""
    leaves = {name: t.clone().requires_grad_() for name, t in w.items()}
    logits = torch.stack([forward(leaves, c, row[:-1]) for row in rows])
    F.cross_entropy(logits.reshape(-1, c.vocab_size), rows[:, 1:].reshape(-1), reduction="sum").backward()
    grads = {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in leaves.items()}   # idle experts
    return {name: [round(g.sum().item(), 6), round(g.norm().item(), 6)] for name, g in grads.items()}


def make(folder, kind, keys, cases, length=12):
    generator = torch.Generator().manual_seed(sum(map(ord, folder)))
    tree = {"architectures": [CLASSES[kind] + "ForCausalLM"], "model_type": kind, "torch_dtype": "float32", **keys}
    w = weights(Config(tree), generator)
    path = os.path.join("llamas", folder)
    os.makedirs(path, exist_ok=True)
    save_safetensors(f"{path}/model.safetensors", w)
    with open(f"{path}/config.json", "w") as f:
        json.dump(tree, f, indent=1)
        f.write("\n")
    exact = {name: t.double() for name, t in w.items()}
    rows = torch.randint(tree["vocab_size"], (2, length + 1), generator=generator)
    results, seen = [], []
    for name, change, without in [("as it is", {}, []), *cases]:
        c = Config({k: v for k, v in {**tree, **change}.items() if k not in without})
        logits = torch.stack([forward(exact, c, row[:-1]) for row in rows])
        loss = F.cross_entropy(logits.reshape(-1, c.vocab_size), rows[:, 1:].reshape(-1), reduction="none")
        assert torch.isfinite(loss).all()
        assert not any(torch.allclose(loss, other, atol=1e-4) for other in seen) or "same" in name, (folder, name)
        seen.append(loss)
        results.append({"name": name, "keys": change, "without": without, "loss": [round(x, 7) for x in loss.tolist()],
                        "last": [round(x, 7) for x in logits[0, -1].tolist()]})
    with open(f"{path}/expected.json", "w") as f:
        head = {"tokens": rows[:, :-1].reshape(-1).tolist(), "targets": rows[:, 1:].reshape(-1).tolist()}
        head["gradients"] = gradients(exact, Config(tree), rows)
        f.write(json.dumps(head)[:-1])
        f.write(', "cases": [\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in results) + "\n]}\n")


SMALL = {"vocab_size": 19, "hidden_size": 16, "intermediate_size": 17, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "rope_theta": 500.0, "rms_norm_eps": 1e-3,
         "hidden_act": "silu", "tie_word_embeddings": False}


def but(**changes):
    return {**SMALL, **changes}


def scaled(**d):
    return {"rope_scaling": d}


def main():
    long = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    make("llama", "llama", but(head_dim=6, attention_bias=True, mlp_bias=True), [
        ("eps absent", {}, ["rms_norm_eps"]), ("theta absent", {}, ["rope_theta"]),
        ("relu2", {"hidden_act": "relu2"}, []), ("gelu", {"hidden_act": "gelu"}, []),
        ("quick_gelu", {"hidden_act": "quick_gelu"}, []), ("mish", {"hidden_act": "mish"}, [])])
    factors = {"short_factor": [1.0 + 0.5 * i for i in range(8)], "long_factor": [1.0 + 3.0 * i for i in range(8)]}
    make("llama_rope", "llama", but(num_attention_heads=2, num_key_value_heads=1, head_dim=16), [
        ("linear", scaled(type="linear", factor=3.0), []), ("llama3", scaled(**long), []),
        ("both spellings, the same as llama3", {**scaled(**long), "rope_parameters": {"rope_type": "default",
                                                                                     "rope_theta": 40.0}}, []),
        ("theta inside", {"rope_parameters": {"rope_type": "default", "rope_theta": 40.0}}, []),
        ("dynamic", {**scaled(rope_type="dynamic", factor=2.0), "max_position_embeddings": 8}, []),
        ("dynamic, the same below the limit", scaled(rope_type="dynamic", factor=2.0), []),
        ("yarn", scaled(**yarn), []), ("yarn, beta 0, the same as the default", scaled(**yarn, beta_fast=0), []),
        ("yarn, other beta", scaled(**yarn, beta_fast=4, beta_slow=0.5), []),
        ("yarn, not truncated", scaled(**yarn, truncate=False), []),
        ("yarn, attention_factor", scaled(**yarn, attention_factor=1.5), []),
        ("yarn, mscale", scaled(**yarn, mscale=2.0, mscale_all_dim=0.5), []),
        ("yarn, factor by the contexts, the same as 4",
         scaled(rope_type="yarn", original_max_position_embeddings=16), []),
        ("longrope, short", scaled(rope_type="longrope", **factors,
                                   original_max_position_embeddings=12), []),
        ("longrope, long", scaled(rope_type="longrope", **factors,
                                  original_max_position_embeddings=11), [])])
    make("llama_mqa", "llama", but(num_key_value_heads=1, tie_word_embeddings=True), [])
    make("mistral", "mistral", but(num_attention_heads=8, num_key_value_heads=8, sliding_window=4), [
        ("heads absent, the same", {}, ["num_key_value_heads"]),
        ("heads null, the same", {"num_key_value_heads": None}, []),
        ("no window", {"sliding_window": None}, []), ("window absent, the same as none here", {}, ["sliding_window"]),
        ("a window of one", {"sliding_window": 1}, []),
        ("a window as long as the text, the same as none", {"sliding_window": 12}, []),
        ("one less", {"sliding_window": 11}, [])])
    make("qwen2", "qwen2", but(num_hidden_layers=3, use_sliding_window=True, sliding_window=3, max_window_layers=1,
                               tie_word_embeddings=True), [
        ("not used", {"use_sliding_window": False}, []), ("not used by default, the same", {}, ["use_sliding_window"]),
        ("28 layers by default, the same", {}, ["max_window_layers"]),
        ("layer_types count", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}, []),
        ("4096 by default, the same", {}, ["sliding_window"])])
    make("qwen3", "qwen3", but(head_dim=6, attention_bias=True), [("eps absent", {}, ["rms_norm_eps"])])
    one = but(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    make("qwen3_defaults", "qwen3", one, [])
    make("olmo", "olmo", but(clip_qkv=0.6), [
        ("no clip", {"clip_qkv": None}, []), ("clip absent, the same", {}, ["clip_qkv"]),
        ("rms_norm_eps has no effect, the same", {"clip_qkv": 0.6}, ["rms_norm_eps"])])
    make("olmo2", "olmo2", but(head_dim=6), [("eps absent", {}, ["rms_norm_eps"])])
    make("gemma", "gemma", but(head_dim=8, num_key_value_heads=1, tie_word_embeddings=True, hidden_act="gelu"), [
        ("hidden_activation counts", {"hidden_activation": "gelu_pytorch_tanh"}, []),
        ("null does not, the same", {"hidden_activation": None}, []),
        ("both absent, the same as tanh", {}, ["hidden_act"]),
        ("tied by default, the same", {}, ["tie_word_embeddings"])])
    make("gemma_defaults", "gemma", {**one, "tie_word_embeddings": True}, [])
    make("gemma2", "gemma2", but(head_dim=8, sliding_window=4, query_pre_attn_scalar=9, attn_logit_softcapping=2.0,
                                 final_logit_softcapping=3.0, tie_word_embeddings=True, num_hidden_layers=3), [
        ("scalar absent", {}, ["query_pre_attn_scalar"]),
        ("scores are not capped", {"attn_logit_softcapping": None}, []),
        ("scores are capped at 50", {}, ["attn_logit_softcapping"]),
        ("logits are not capped", {"final_logit_softcapping": None}, []),
        ("logits are capped at 30", {}, ["final_logit_softcapping"]),
        ("layer_types count", {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}, []),
        ("no window", {"sliding_window": None}, []), ("hidden_act has no effect, the same", {"hidden_act": "relu"}, []),
        ("hidden_activation", {"hidden_activation": "relu"}, [])])
    factors = {"short_factor": [1.0, 1.5, 2.0], "long_factor": [1.0, 3.0, 9.0]}
    make("phi3", "phi3", but(head_dim=8, partial_rotary_factor=0.75, original_max_position_embeddings=12), [
        ("eps absent, the same", {}, ["rms_norm_eps"]), ("a window", {"sliding_window": 3}, []),
        ("longrope, short", scaled(type="longrope", **factors), []),
        ("longrope by its old name, the same", scaled(type="su", **factors), []),
        ("longrope, long", {**scaled(type="longrope", **factors), "original_max_position_embeddings": 11}, []),
        ("longrope, the original context absent", scaled(type="longrope", **factors),
         ["original_max_position_embeddings"]),
        ("partial inside", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, [])])
    make("smollm3", "smollm3", but(num_hidden_layers=4, intermediate_size=12, num_key_value_heads=4,
                                   tie_word_embeddings=True), [
        ("theta absent", {}, ["rope_theta"]), ("heads absent, the same", {}, ["num_key_value_heads"]),
        ("every second", {"no_rope_layer_interval": 2}, []), ("a list", {"no_rope_layers": [0, 1, 1, 0]}, []),
        ("a window where there are no positions", {"use_sliding_window": True, "sliding_window": 3}, []),
        ("a window by layer_types", {"use_sliding_window": True, "sliding_window": 3, "layer_types": [
            "sliding_attention", "full_attention", "full_attention", "full_attention"]}, [])])
    make("granite", "granite", but(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.5,
                                   logits_scaling=1.7), [
        ("embedding_multiplier absent", {}, ["embedding_multiplier"]),
        ("attention_multiplier absent", {}, ["attention_multiplier"]),
        ("residual_multiplier absent", {}, ["residual_multiplier"]), ("logits_scaling absent", {}, ["logits_scaling"])])
    make("mixtral", "mixtral", but(hidden_size=8, head_dim=6, intermediate_size=6, num_local_experts=5,
                                   num_experts_per_tok=2), [
        ("one expert", {"num_experts_per_tok": 1}, []), ("two by default, the same", {}, ["num_experts_per_tok"]),
        ("theta absent", {}, ["rope_theta"]), ("a window", {"sliding_window": 3}, []),
        ("the other name, the same", {"num_experts": 5}, ["num_local_experts"])])
    make("olmoe", "olmoe", but(hidden_size=8, intermediate_size=5, num_experts=6, num_experts_per_tok=3,
                               clip_qkv=0.6), [
        ("weights that sum to 1", {"norm_topk_prob": True}, []), ("no clip", {"clip_qkv": None}, []),
        ("eps absent", {}, ["rms_norm_eps"])])
    make("qwen3_moe", "qwen3_moe", but(hidden_size=8, head_dim=6, moe_intermediate_size=5, num_experts=4,
                                       num_experts_per_tok=2, norm_topk_prob=True, mlp_only_layers=[0]), [
        ("weights as they are", {}, ["norm_topk_prob"]), ("three experts", {"num_experts_per_tok": 3}, []),
        ("a window everywhere", {"use_sliding_window": True, "sliding_window": 3}, [])])
    make("qwen3_moe_steps", "qwen3_moe", but(hidden_size=8, num_hidden_layers=4, intermediate_size=6, num_experts=3,
                                             moe_intermediate_size=5, num_experts_per_tok=2, decoder_sparse_step=2), [])
    make("qwen2_moe", "qwen2_moe", but(hidden_size=8, moe_intermediate_size=5, shared_expert_intermediate_size=7,
                                       num_experts=4, num_experts_per_tok=2, use_sliding_window=True, sliding_window=3,
                                       max_window_layers=1), [
        ("weights that sum to 1", {"norm_topk_prob": True}, []),
        ("not used", {"use_sliding_window": False}, [])])


if __name__ == "__main__":
    main()

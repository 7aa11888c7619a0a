"""Writes tiny Llama folders with the logits and losses that an independent implementation gets from them.

Plain PyTorch, written from the definition of the architecture: RMSNorm, rotary positions by rotating halves, grouped
queries, SwiGLU, no biases. The safetensors files are written by the few lines below, so that our reader meets a foreign
writer. Run in this folder: /usr/bin/python3 make_llama.py
"""
import json
import os
import struct

import torch


def save_safetensors(path, tensors):
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL"}
    header, body = {}, b""
    for name, t in tensors.items():
        if t.dtype == torch.bfloat16:
            raw = t.view(torch.int16).numpy().tobytes()
        else:
            raw = t.numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape),
            "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def rms_norm(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def rotate(x, theta):
    """x [T, H, Dh]"""
    t, _, d = x.shape
    angle = torch.arange(t, dtype=torch.float64)[:, None] * theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def forward(w, c, tokens):
    """Logits [T, V] of one sequence, in float64."""
    heads, kv, dh, eps = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][tokens]
    t = len(tokens)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        h = rms_norm(x, w[p + "input_layernorm.weight"], eps)
        q = rotate((h @ w[p + "self_attn.q_proj.weight"].T).view(t, heads, dh), c["rope_theta"])
        k = rotate((h @ w[p + "self_attn.k_proj.weight"].T).view(t, kv, dh), c["rope_theta"])
        v = (h @ w[p + "self_attn.v_proj.weight"].T).view(t, kv, dh)
        k, v = k.repeat_interleave(heads // kv, 1), v.repeat_interleave(heads // kv, 1)
        score = torch.einsum("thd,shd->hts", q, k) / dh**0.5
        score = score.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        y = torch.einsum("hts,shd->thd", score.softmax(-1), v).reshape(t, heads * dh)
        x = x + y @ w[p + "self_attn.o_proj.weight"].T
        h = rms_norm(x, w[p + "post_attention_layernorm.weight"], eps)
        gate = h @ w[p + "mlp.gate_proj.weight"].T
        x = x + (gate * torch.sigmoid(gate) * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    x = rms_norm(x, w["model.norm.weight"], eps)
    return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def weights(c, tied, generator):
    d, dh, f, v = c["hidden_size"], c["head_dim"], c["intermediate_size"], c["vocab_size"]
    q, kv = c["num_attention_heads"] * dh, c["num_key_value_heads"] * dh
    shapes = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        shapes.update({
            p + "self_attn.q_proj.weight": (q, d), p + "self_attn.k_proj.weight": (kv, d),
            p + "self_attn.v_proj.weight": (kv, d), p + "self_attn.o_proj.weight": (d, q),
            p + "mlp.gate_proj.weight": (f, d), p + "mlp.up_proj.weight": (f, d), p + "mlp.down_proj.weight": (d, f),
            p + "input_layernorm.weight": (d,), p + "post_attention_layernorm.weight": (d,),
        })
    if not tied:
        shapes["lm_head.weight"] = (v, d)
    w = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=generator)
        w[name] = 1 + 0.1 * x if len(shape) == 1 else 0.3 * x
    return w


def make(folder, tied, dtype, shards, **changes):
    generator = torch.Generator().manual_seed(len(folder))
    c = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 23, "hidden_size": 16,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
         "intermediate_size": 24,
         "rms_norm_eps": 1e-5, "rope_theta": 500.0, "max_position_embeddings": 32, "hidden_act": "silu",
         "tie_word_embeddings": tied, "rope_scaling": None, "attention_bias": False,
         "torch_dtype": str(dtype).split(".")[1]}
    c.update(changes)
    w = {name: t.to(dtype) for name, t in weights(c, tied, generator).items()}
    os.makedirs(folder, exist_ok=True)
    if shards == 1:
        save_safetensors(f"{folder}/model.safetensors", w)
    else:
        names, place = list(w), {}
        for s in range(shards):
            file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
            part = {n: w[n] for n in names[s::shards]}
            save_safetensors(f"{folder}/{file}", part)
            place.update({n: file for n in part})
        with open(f"{folder}/model.safetensors.index.json", "w") as f:
            json.dump({"metadata": {}, "weight_map": place}, f, indent=1)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(c, f, indent=1)
    exact = {name: t.double() for name, t in w.items()}
    tokens = torch.randint(c["vocab_size"], (2, 11), generator=generator)
    logits = torch.stack([forward(exact, c, row[:-1]) for row in tokens])
    loss = torch.nn.functional.cross_entropy(logits.view(-1, c["vocab_size"]), tokens[:, 1:].reshape(-1),
        reduction="none")
    with open(f"{folder}/expected.json", "w") as f:
        json.dump({"tokens": tokens[:, :-1].reshape(-1).tolist(), "targets": tokens[:, 1:].reshape(-1).tolist(),
                   "logits": [round(x, 7) for x in logits.reshape(-1).tolist()],
                   "loss": [round(x, 7) for x in loss.tolist()]}, f)


if __name__ == "__main__":
    make("llama_gqa", tied=False, dtype=torch.float32, shards=1)
    make("llama_tied_bf16", tied=True, dtype=torch.bfloat16, shards=1, num_key_value_heads=1)
    make("llama_sharded_f16", tied=False, dtype=torch.float16, shards=3, num_key_value_heads=4)

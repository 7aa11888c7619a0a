"""Writes tiny folders of GPT-2, GPT-NeoX, OPT and StableLM with what an independent implementation gets from them.

Plain PyTorch, written from the definitions of the architectures: each has a forward of its own, which reads the keys of
config.json with the defaults of the class and the tensors by their names in the files. Beside config.json and
model.safetensors each folder has expected.json: tokens, targets, and `variants`, the first of which is the folder as it
is. The others change keys of config.json (null takes a key out) and say what the same tensors give then: the loss of
each token and the logits of the last one. Of the gradient of the summed loss by each tensor there are the norm and the
inner product with sin(k), k = 0, 1, .., which no wrong element escapes. Run in this folder:
/usr/bin/python3 make_gpts.py
"""
import json
import math
import os

import torch
import torch.nn.functional as F

from make_llama import save_safetensors

LENGTH = 11

ACTIVATIONS = {
    "gelu": F.gelu, "gelu_python": F.gelu, "silu": F.silu, "swish": F.silu, "relu": F.relu, "tanh": torch.tanh,
    "relu2": lambda x: F.relu(x) ** 2, "sigmoid": torch.sigmoid, "linear": lambda x: x, "mish": F.mish,
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_fast": lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu_10": lambda x: F.gelu(x).clip(-10, 10),
}
ACTIVATIONS["gelu_pytorch_tanh"] = ACTIVATIONS["gelu_accurate"] = ACTIVATIONS["gelu_new"]


class Tensors:
    """The tensors of a file by name; a linear layer has its bias where the file has one."""

    def __init__(self, tensors):
        self.of = {name: t.double() for name, t in tensors.items() if t.is_floating_point()}

    def __getitem__(self, name):
        return self.of[name]

    def linear(self, name, x):
        return F.linear(x, self.of[name + ".weight"], self.of.get(name + ".bias"))

    def norm(self, name, x, eps):
        return F.layer_norm(x, x.shape[-1:], self.of.get(name + ".weight"), self.of.get(name + ".bias"), eps)


def rotate(x, theta, turned):
    """x [T, H, h]: the first `turned` of each head are rotated by halves, the rest passes."""
    angle = torch.arange(x.shape[0], dtype=torch.float64)[:, None] * theta ** (
        -torch.arange(0, turned, 2, dtype=torch.float64) / turned)
    angle = torch.cat([angle, angle], -1)[:, None, :]
    part, rest = x[..., :turned], x[..., turned:]
    a, b = part[..., : turned // 2], part[..., turned // 2 :]
    return torch.cat([part * angle.cos() + torch.cat([-b, a], -1) * angle.sin(), rest], -1)


def attend(q, k, v, scale):
    """Causal; q [T, H, h], k and v [T, K, h] with H a multiple of K -> [T, H h]."""
    t, heads, _ = q.shape
    k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
    score = torch.einsum("thd,shd->hts", q, k) * scale
    score = score.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
    return torch.einsum("hts,shd->thd", score.softmax(-1), v).reshape(t, -1)


def gpt2(c, w, tokens):
    names = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
    get = lambda name, default: c.get(name, c.get(names.get(name), default))
    layers, heads, eps = get("n_layer", 12), get("n_head", 12), get("layer_norm_epsilon", 1e-5)
    act, t = ACTIVATIONS[get("activation_function", "gelu_new")], len(tokens)
    conv = lambda name, x: x @ w[name + ".weight"] + w[name + ".bias"]
    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][:t]
    for n in range(layers):
        p = f"transformer.h.{n}."
        q, k, v = (y.reshape(t, heads, -1) for y in conv(p + "attn.c_attn", w.norm(p + "ln_1", x, eps)).chunk(3, -1))
        scale = q.shape[-1] ** -0.5 if get("scale_attn_weights", True) else 1.0
        if get("scale_attn_by_inverse_layer_idx", False):
            scale /= n + 1
        x = x + conv(p + "attn.c_proj", attend(q, k, v, scale))
        x = x + conv(p + "mlp.c_proj", act(conv(p + "mlp.c_fc", w.norm(p + "ln_2", x, eps))))
    return F.linear(w.norm("transformer.ln_f", x, eps), w["transformer.wte.weight"])


def gpt_neox(c, w, tokens):
    heads, eps, t = c["num_attention_heads"], c.get("layer_norm_eps", 1e-5), len(tokens)
    width = c["hidden_size"] // heads
    turned, theta = int(width * c.get("rotary_pct", 0.25)), c.get("rotary_emb_base", 10000)
    act = ACTIVATIONS[c.get("hidden_act", "gelu")]
    x = w["gpt_neox.embed_in.weight"][tokens]
    for n in range(c["num_hidden_layers"]):
        p = f"gpt_neox.layers.{n}."

        def attention(y):
            qkv = w.linear(p + "attention.query_key_value", y).view(t, heads, 3 * width)
            q, k, v = qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]
            y = attend(rotate(q, theta, turned), rotate(k, theta, turned), v, width**-0.5)
            return w.linear(p + "attention.dense", y)

        def mlp(y):
            return w.linear(p + "mlp.dense_4h_to_h", act(w.linear(p + "mlp.dense_h_to_4h", y)))

        first = x + attention(w.norm(p + "input_layernorm", x, eps))
        parallel = c.get("use_parallel_residual", True)
        x = first + mlp(w.norm(p + "post_attention_layernorm", x if parallel else first, eps))
    x = w.norm("gpt_neox.final_layer_norm", x, eps)
    return F.linear(x, w["gpt_neox.embed_in.weight" if c.get("tie_word_embeddings", False) else "embed_out.weight"])


def opt(c, w, tokens):
    heads, t, before = c["num_attention_heads"], len(tokens), c.get("do_layer_norm_before", True)
    act = ACTIVATIONS[c.get("activation_function", "relu")]
    width = c["hidden_size"] // heads
    norm = lambda name, x: w.norm(name, x, 1e-5)
    x = w["model.decoder.embed_tokens.weight"][tokens]
    if "model.decoder.project_in.weight" in w.of:
        x = w.linear("model.decoder.project_in", x)
    x = x + w["model.decoder.embed_positions.weight"][torch.arange(t) + 2]
    for n in range(c["num_hidden_layers"]):
        p = f"model.decoder.layers.{n}."
        y = norm(p + "self_attn_layer_norm", x) if before else x
        q, k, v = (w.linear(p + f"self_attn.{which}_proj", y).view(t, heads, width) for which in "qkv")
        x = x + w.linear(p + "self_attn.out_proj", attend(q * width**-0.5, k, v, 1.0))
        if not before:
            x = norm(p + "self_attn_layer_norm", x)
        y = norm(p + "final_layer_norm", x) if before else x
        x = x + w.linear(p + "fc2", act(w.linear(p + "fc1", y)))
        if not before:
            x = norm(p + "final_layer_norm", x)
    if before and not c.get("_remove_final_layer_norm", False):
        x = norm("model.decoder.final_layer_norm", x)
    if "model.decoder.project_out.weight" in w.of:
        x = w.linear("model.decoder.project_out", x)
    return F.linear(x, w["model.decoder.embed_tokens.weight"])


def stablelm(c, w, tokens):
    heads, kv = c["num_attention_heads"], c.get("num_key_value_heads", 32)
    width, eps, t = c["hidden_size"] // heads, c.get("layer_norm_eps", 1e-5), len(tokens)
    turned, theta = int(width * c.get("partial_rotary_factor", 0.25)), c.get("rope_theta", 10000)
    act = ACTIVATIONS[c.get("hidden_act", "silu")]
    x = w["model.embed_tokens.weight"][tokens]
    for n in range(c["num_hidden_layers"]):
        p = f"model.layers.{n}."

        def of_heads(which, number, y):
            y = w.linear(p + f"self_attn.{which}_proj", y).view(t, number, width)
            name = p + f"self_attn.{which}_layernorm.norms."
            if which == "v" or not c.get("qk_layernorm", False):
                return y
            return torch.stack([w.norm(f"{name}{j}", y[:, j], eps) for j in range(number)], 1)

        def attention(y):
            q, k, v = of_heads("q", heads, y), of_heads("k", kv, y), of_heads("v", kv, y)
            return w.linear(p + "self_attn.o_proj",
                attend(rotate(q, theta, turned), rotate(k, theta, turned), v, width**-0.5))

        def mlp(y):
            return w.linear(p + "mlp.down_proj", act(w.linear(p + "mlp.gate_proj", y)) * w.linear(p + "mlp.up_proj", y))

        y = w.norm(p + "input_layernorm", x, eps)
        if c.get("use_parallel_residual", False):
            x = x + attention(y) + mlp(y)
        else:
            x = x + attention(y)
            x = x + mlp(w.norm(p + "post_attention_layernorm", x, eps))
    x = w.norm("model.norm", x, eps)
    return F.linear(x, w["model.embed_tokens.weight" if c.get("tie_word_embeddings", False) else "lm_head.weight"])


FORWARDS = {"gpt2": gpt2, "gpt_neox": gpt_neox, "opt": opt, "stablelm": stablelm}


def random_tensors(shapes, generator):
    """Gains around 1, biases and positions of some size, so that nothing passes for its default."""
    tensors = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=generator)
        gain = len(shape) == 1 and name.endswith("weight")
        tensors[name] = 1 + 0.2 * x if gain else (0.2 if len(shape) == 1 else 0.35) * x
    return tensors


def gradients_of(loss, weights):
    of = {}
    for name, g in zip(weights.of, torch.autograd.grad(loss, list(weights.of.values()), allow_unused=True)):
        if g is not None:
            wave = torch.sin(torch.arange(g.numel(), dtype=torch.float64))
            of[name] = [round(g.norm().item(), 7), round(torch.dot(g.flatten(), wave).item(), 7)]
    return of


def make(folder, config, shapes, extra=None, variants=()):
    generator = torch.Generator().manual_seed(len(folder) + sum(map(ord, folder)))
    tensors = random_tensors(shapes, generator)
    tensors.update(extra or {})
    folder = "gpts/" + folder
    os.makedirs(folder, exist_ok=True)
    save_safetensors(f"{folder}/model.safetensors", tensors)
    config = {**config, "torch_dtype": "float32"}
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f, indent=1)
    tokens = torch.randint(config["vocab_size"], (2, LENGTH), generator=generator)
    cases, weights = [], Tensors(tensors)
    for x in weights.of.values():
        x.requires_grad_()
    for changes in ({}, *variants):
        c = {key: value for key, value in {**config, **changes}.items() if key not in changes or value is not None}
        logits = torch.stack([FORWARDS[c["model_type"]](c, weights, row[:-1]) for row in tokens])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        if not changes:
            gradients = gradients_of(loss.sum(), weights)
        cases.append({"keys": changes, "loss": [round(x, 7) for x in loss.tolist()],
                      "logits": [round(x, 7) for x in logits[:, -1].flatten().tolist()]})
    with open(f"{folder}/expected.json", "w") as f:
        head = {"tokens": tokens[:, :-1].flatten().tolist(), "targets": tokens[:, 1:].flatten().tolist(),
                "gradients": gradients}
        f.write(json.dumps(head)[:-1] + ', "variants": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")


def make_gpt2():
    d, v, p, layers, heads = 12, 23, 24, 3, 2
    shapes = {"transformer.wte.weight": (v, d), "transformer.wpe.weight": (p, d), "transformer.ln_f.weight": (d,),
              "transformer.ln_f.bias": (d,)}
    extra = {}
    for n in range(layers):
        h = f"transformer.h.{n}."
        for name, size in (("attn.c_attn", (d, 3 * d)), ("attn.c_proj", (d, d)), ("mlp.c_fc", (d, 4 * d)),
                           ("mlp.c_proj", (4 * d, d)), ("ln_1", (d,)), ("ln_2", (d,))):
            shapes[h + name + ".weight"], shapes[h + name + ".bias"] = size, size[-1:]
        extra[h + "attn.bias"] = torch.ones(1, 1, p, p).tril().bool()
        extra[h + "attn.masked_bias"] = torch.tensor(-1e4)
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": v, "n_positions": p, "n_ctx": p,
              "n_embd": d, "n_layer": layers, "n_head": heads, "n_inner": None, "activation_function": "gelu_new",
              "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "attn_pdrop": 0.1, "summary_type": "cls_index",
              "bos_token_id": 22, "eos_token_id": 22}
    other_names = {"hidden_size": d, "n_embd": None, "num_hidden_layers": layers, "n_layer": None,
                   "num_attention_heads": heads, "n_head": None, "max_position_embeddings": p, "n_positions": None}
    make("gpt2_tiny", config, shapes, extra, [
        {"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}, {"layer_norm_epsilon": 0.1},
        {"layer_norm_epsilon": None}, {"activation_function": None}, {"reorder_and_upcast_attn": True}, other_names,
        *({"activation_function": name} for name in ACTIVATIONS)])


def make_neox():
    d, v, f, layers = 16, 23, 20, 2

    def shapes(bias, tied):
        of = {"gpt_neox.embed_in.weight": (v, d), "gpt_neox.final_layer_norm.weight": (d,),
              "gpt_neox.final_layer_norm.bias": (d,)}
        for n in range(layers):
            p = f"gpt_neox.layers.{n}."
            for name, size in (("attention.query_key_value", (3 * d, d)), ("attention.dense", (d, d)),
                               ("mlp.dense_h_to_4h", (f, d)), ("mlp.dense_4h_to_h", (d, f)), ("input_layernorm", (d,)),
                               ("post_attention_layernorm", (d,))):
                of[p + name + ".weight"] = size
                if bias or not name.startswith("attention"):
                    of[p + name + ".bias"] = size[:1]
        return of if tied else {**of, "embed_out.weight": (v, d)}

    extra = {}
    for n in range(layers):
        p = f"gpt_neox.layers.{n}.attention."
        extra[p + "bias"] = torch.ones(1, 1, 32, 32).tril().bool()
        extra[p + "masked_bias"] = torch.tensor(-1e9)
        extra[p + "rotary_emb.inv_freq"] = torch.ones(1)
    config = {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": v, "hidden_size": d,
              "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": f, "hidden_act": "gelu",
              "rotary_pct": 0.25, "rotary_emb_base": 100, "max_position_embeddings": 32, "layer_norm_eps": 1e-5,
              "use_parallel_residual": True, "tie_word_embeddings": False, "initializer_range": 0.02}
    make("gpt_neox_tiny", config, shapes(True, False), extra, [
        {"use_parallel_residual": False}, {"use_parallel_residual": None}, {"rotary_pct": None}, {"rotary_pct": 1.0},
        {"rotary_pct": 0.5}, {"rotary_emb_base": None, "rotary_pct": 1.0}, {"rope_theta": 7.0}, {"layer_norm_eps": 0.1},
        {"layer_norm_eps": None}, {"hidden_act": "gelu_new"}, {"hidden_act": None}, {"tie_word_embeddings": None},
        {"attention_bias": True}])
    make("gpt_neox_plain", {**config, "num_attention_heads": 4, "rotary_pct": 0.5, "attention_bias": False,
                            "tie_word_embeddings": True}, shapes(False, True))


def make_opt():
    v, p, f, layers = 23, 24, 20, 2

    def shapes(d, w, bias, affine, final):
        of = {"model.decoder.embed_tokens.weight": (v, w), "model.decoder.embed_positions.weight": (p + 2, d)}
        if w != d:
            of["model.decoder.project_in.weight"], of["model.decoder.project_out.weight"] = (d, w), (w, d)
        linears = [("self_attn.q_proj", (d, d)), ("self_attn.k_proj", (d, d)), ("self_attn.v_proj", (d, d)),
                   ("self_attn.out_proj", (d, d)), ("fc1", (f, d)), ("fc2", (d, f))]
        norms = [f"model.decoder.layers.{n}.{name}" for n in range(layers)
                 for name in ("self_attn_layer_norm", "final_layer_norm")]
        for name in norms + (["model.decoder.final_layer_norm"] if final else []):
            if affine:
                of[name + ".weight"] = of[name + ".bias"] = (d,)
        for n in range(layers):
            for name, size in linears:
                of[f"model.decoder.layers.{n}.{name}.weight"] = size
                if bias:
                    of[f"model.decoder.layers.{n}.{name}.bias"] = size[:1]
        return of

    config = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "vocab_size": v, "hidden_size": 12,
              "num_hidden_layers": layers, "num_attention_heads": 2, "ffn_dim": f, "activation_function": "relu",
              "max_position_embeddings": p, "do_layer_norm_before": True, "word_embed_proj_dim": 12, "init_std": 0.02,
              "dropout": 0.1, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, "prefix": "</s>"}
    make("opt_tiny", config, shapes(12, 12, True, True, True), None, [
        {"word_embed_proj_dim": None}, {"do_layer_norm_before": None}, {"activation_function": None},
        {"activation_function": "gelu"}, {"enable_bias": True, "layer_norm_elementwise_affine": True}])
    make("opt_post_norm", {**config, "do_layer_norm_before": False, "word_embed_proj_dim": 8},
         shapes(12, 8, True, True, False))
    make("opt_bare", {**config, "enable_bias": False, "layer_norm_elementwise_affine": False,
                      "_remove_final_layer_norm": True, "word_embed_proj_dim": 16}, shapes(12, 16, False, False, False))


def make_stablelm():
    d, v, f, layers, heads, kv, width = 16, 23, 20, 2, 2, 1, 8

    def shapes(bias, parallel, qk):
        of = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,), "model.norm.bias": (d,),
              "lm_head.weight": (v, d)}
        for n in range(layers):
            p = f"model.layers.{n}."
            for which, rows in (("q", heads * width), ("k", kv * width), ("v", kv * width)):
                of[p + f"self_attn.{which}_proj.weight"] = (rows, d)
                if bias:
                    of[p + f"self_attn.{which}_proj.bias"] = (rows,)
            of[p + "self_attn.o_proj.weight"] = (d, heads * width)
            of[p + "mlp.gate_proj.weight"] = of[p + "mlp.up_proj.weight"] = (f, d)
            of[p + "mlp.down_proj.weight"] = (d, f)
            for name in ("input_layernorm",) if parallel else ("input_layernorm", "post_attention_layernorm"):
                of[p + name + ".weight"] = of[p + name + ".bias"] = (d,)
            for which, number in (("q", heads), ("k", kv)) if qk else ():
                for j in range(number):
                    of[p + f"self_attn.{which}_layernorm.norms.{j}.weight"] = (width,)
        return of

    config = {"architectures": ["StableLmForCausalLM"], "model_type": "stablelm", "vocab_size": v, "hidden_size": d,
              "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
              "intermediate_size": f, "hidden_act": "silu", "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25,
              "rope_theta": 100, "max_position_embeddings": 32, "use_qkv_bias": True, "qk_layernorm": False,
              "use_parallel_residual": False, "tie_word_embeddings": False}
    make("stablelm_tiny", config, shapes(True, False, False), None, [
        {"partial_rotary_factor": None}, {"partial_rotary_factor": 1.0}, {"layer_norm_eps": 0.1},
        {"layer_norm_eps": None}, {"rope_theta": None, "partial_rotary_factor": 1.0},
        {"hidden_act": "gelu"}, {"tie_word_embeddings": None}])
    make("stablelm_parallel", {**config, "use_qkv_bias": False, "use_parallel_residual": True, "qk_layernorm": True},
         shapes(False, True, True))


if __name__ == "__main__":
    make_gpt2()
    make_neox()
    make_opt()
    make_stablelm()

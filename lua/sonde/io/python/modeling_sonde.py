"""A model of Sonde's own architecture in PyTorch, for transformers (trust_remote_code=True).

The norms, placements and layers are those of Sonde's doc/norms.md, under the same names and with the same options; the
parameters have the names of the tensors in the folder. Everything is computed from the section "sonde" of config.json.
What this file does not know is refused when the model is made.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_sonde import SondeConfig
from .norms_sonde import NORMS, Place, root_mean_square, vector, wide

NORM_NAMES = {"attn": "input_layernorm", "ffn": "post_attention_layernorm", "attn_out": "post_self_attn_layernorm",
              "ffn_out": "post_mlp_layernorm"}


def chosen(kinds, what, options):
    if options["name"] not in kinds:
        raise ValueError(f"modeling_sonde.py knows no {what} '{options['name']}'")
    return kinds[options["name"]]


# ---- attention and feed-forward layer -------------------------------------------------------------------------------


def llama3_share(options, v):
    """How much of each frequency stays, the rest being slowed."""
    low, high = options["rope_low_freq_factor"], options["rope_high_freq_factor"]
    return ((options["rope_original_context"] * v / (2 * math.pi) - low) / (high - low)).clamp(0, 1)


def yarn_share(options, v, size):
    def pair(turns):
        return size * math.log(options["rope_original_context"] / (2 * math.pi * turns)) / (
            2 * math.log(options["rope_theta"]))

    low, high = pair(options["rope_beta_fast"]), pair(options["rope_beta_slow"])
    if options["rope_truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    at = torch.arange(len(v), dtype=v.dtype, device=v.device)
    return 1 - ((at - low) / (high - low if high != low else 0.001)).clamp(0, 1)


def frequencies(options, size, device):
    """Angle of each pair of features for one position, [size / 2]."""
    kind = torch.float32 if device.type == "mps" else torch.float64      # which lacks f64
    v = options["rope_theta"] ** (-torch.arange(0, size, 2, dtype=kind, device=device) / size)
    scheme, factor = options["rope_scaling"], options["rope_factor"]
    if scheme == "none":
        return v
    if scheme == "linear":
        return v / factor
    if scheme not in ("llama3", "yarn"):
        raise ValueError(f"modeling_sonde.py knows no rope_scaling '{scheme}'")
    stays = llama3_share(options, v) if scheme == "llama3" else yarn_share(options, v, size)
    return (1 - stays) * v / factor + stays * v


def turned(x, angle, amplitude):
    """The first features of x [B, H, T, Dh] by angle [B, T, r / 2], half of those r against half."""
    cos, sin = (torch.cat([f(angle)] * 2, -1).unsqueeze(1).to(x.dtype) * amplitude for f in (torch.cos, torch.sin))
    x, rest = x[..., :cos.shape[-1]], x[..., cos.shape[-1]:]
    a, b = x.chunk(2, -1)
    return torch.cat([x * cos + torch.cat([-b, a], -1) * sin, rest], -1)


def slopes(heads, device):
    """Of ALiBi, [heads]: 2^(-8 h / heads), and between powers of two as in the code of its paper."""
    power = 2 ** int(math.log2(heads))
    steps = [h + 1 if h < power else h - power + 0.5 for h in range(heads)]
    return 2 ** (-8 * torch.tensor(steps, device=device) / power)


class QKNorm(nn.Module):
    """Of queries or keys [..., H, Dh], by head with one gain or one for each head ("each"), or [..., H Dh] at once."""

    def __init__(self, options, heads, size):
        super().__init__()
        self.over, self.eps = options.get("qk_norm_over", "head"), options["qk_eps"]
        self.centred = options.get("qk_norm_kind", "rms") == "layer"
        shape = {"head": (size,), "each": (heads, size), "all": (heads * size,)}[self.over]
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        z = wide(x)
        z = z - z.mean(-1, keepdim=True) if self.centred else z
        return (root_mean_square(z, self.eps) * self.weight).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, options, width):
        super().__init__()
        self.options = options
        self.heads = options["heads"] or max(1, width // 64)
        self.kv = options["kv_heads"] or self.heads
        self.size = options["head_dim"] or width // self.heads
        self.rotated = math.floor(self.size * options.get("rope_partial", 1))
        if options["rope_theta"] == 0 or options.get("alibi", False):
            self.rotated = 0
        bias = options.get("bias", "none")
        self.q_proj = nn.Linear(width, self.heads * self.size, bias=bias != "none")
        self.k_proj = nn.Linear(width, self.kv * self.size, bias=bias != "none")
        self.v_proj = nn.Linear(width, self.kv * self.size, bias=bias != "none")
        self.o_proj = nn.Linear(self.heads * self.size, width, bias=bias == "all")
        if options["qk_norm"]:
            self.q_norm = QKNorm(options, self.heads, self.size)
            self.k_norm = QKNorm(options, self.kv, self.size)

    def projected(self, projection, x, norm):
        """Queries, keys or values [B, heads, T, Dh]."""
        y, clip = projection(x), self.options.get("clip", 0)
        if norm is not None and norm.over == "all":
            y = norm(y)
        y = (y.clamp(-clip, clip) if clip else y).unflatten(-1, (-1, self.size))
        if norm is not None and norm.over != "all":
            y = norm(y)
        return y.transpose(1, 2)

    def forward(self, x, where, cache, index):
        q = self.projected(self.q_proj, x, getattr(self, "q_norm", None))
        k = self.projected(self.k_proj, x, getattr(self, "k_norm", None))
        v = self.projected(self.v_proj, x, None)
        if self.rotated:
            angle = where["positions"].unsqueeze(-1) * frequencies(self.options, self.rotated, x.device)
            q, k = (turned(z, angle, self.options.get("rope_attention_factor", 1)) for z in (q, k))
        if cache is not None:
            k, v = cache.update(k, v, index)
        k, v = (z.repeat_interleave(self.heads // self.kv, dim=1) for z in (k, v))
        scores = wide(q @ k.transpose(-1, -2)) * (self.options.get("score_scale") or self.size ** -0.5)
        cap = self.options.get("softcap", 0)
        scores = torch.tanh(scores / cap) * cap if cap else scores
        if self.options.get("alibi", False):
            scores = scores - slopes(self.heads, x.device)[:, None, None].to(scores.dtype) * where["away"]
        scores = scores.masked_fill(~where["seen"](self.options["window"]), torch.finfo(scores.dtype).min)
        y = scores.softmax(-1).to(v.dtype) @ v
        return self.o_proj(y.transpose(1, 2).flatten(2))


ACTIVATIONS = {
    "silu": F.silu, "gelu": F.gelu, "gelu_tanh": lambda h: F.gelu(h, approximate="tanh"),
    "quick_gelu": lambda h: h * torch.sigmoid(1.702 * h), "relu": F.relu, "relu2": lambda h: F.relu(h).square(),
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda h: h, "mish": F.mish,
    "gelu_10": lambda h: F.gelu(h).clamp(-10, 10),
}


class SwiGLU(nn.Module):
    def __init__(self, options, width):
        super().__init__()
        hidden = options["hidden"] or ((8 * width + 2) // 3 + 7) // 8 * 8
        bias = options.get("bias", False)
        self.activation = ACTIVATIONS[options.get("activation", "silu")]
        self.gate_proj = nn.Linear(width, hidden, bias=bias)
        self.up_proj = nn.Linear(width, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, width, bias=bias)

    def forward(self, x):
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class MLP(nn.Module):
    def __init__(self, options, width):
        super().__init__()
        hidden, bias = options["hidden"] or 4 * width, options["bias"]
        self.activation = ACTIVATIONS[options["activation"]]
        self.up_proj = nn.Linear(width, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, width, bias=bias)

    def forward(self, x):
        return self.down_proj(self.activation(self.up_proj(x)))


class Matrices(nn.Module):
    """One matrix of each expert, [E, out, in]."""

    def __init__(self, experts, out, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, out, size))


class MixtureOfExperts(nn.Module):
    """A token goes to the k most probable of E experts, of equal ones to those of lower number, and to a shared one."""

    def __init__(self, options, width):
        super().__init__()
        self.options, self.k, experts = options, options["top_k"], options["experts"]
        hidden = options["hidden"] or ((8 * width + 3 * self.k - 1) // (3 * self.k) + 7) // 8 * 8
        self.activation = ACTIVATIONS[options["activation"]]
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleDict({"gate_proj": Matrices(experts, hidden, width),
                                      "up_proj": Matrices(experts, hidden, width),
                                      "down_proj": Matrices(experts, width, hidden)})
        if options["shared"]:
            self.shared_expert = SwiGLU({"hidden": options["shared"], "activation": options["activation"]}, width)
        if options["shared"] and options["shared_combine"] == "gated":
            self.shared_expert_gate = nn.Linear(width, 1, bias=False)

    def routed(self, x):
        p = F.linear(wide(x), wide(self.gate.weight)).softmax(-1)
        weight, chosen = (z[:, :self.k] for z in p.sort(dim=-1, descending=True, stable=True))
        if self.options["renormalize"]:
            weight = weight / weight.sum(-1, keepdim=True)
        y = torch.zeros_like(wide(x))
        gate, up, down = (self.experts[name].weight for name in ("gate_proj", "up_proj", "down_proj"))
        for e in range(self.options["experts"]):
            token, place = torch.where(chosen == e)
            rows = x[token]
            h = self.activation(F.linear(rows, gate[e])) * F.linear(rows, up[e])
            y.index_add_(0, token, F.linear(h, down[e]).to(y.dtype) * weight[token, place].unsqueeze(-1))
        return y.to(x.dtype)

    def forward(self, x):
        z = x.flatten(0, -2)
        y, how = self.routed(z), self.options["shared_combine"]
        if self.options["shared"]:
            s = self.shared_expert(z)
            s = torch.sigmoid(self.shared_expert_gate(z)) * s if how == "gated" else s
            y = (s + self.k * y) / (self.k + 1) if how == "mean" else s + y
        return y.view_as(x)


ATTENTIONS = {"causal": Attention}
FFNS = {"swiglu": SwiGLU, "mlp": MLP, "moe": MixtureOfExperts}


# ---- placements -----------------------------------------------------------------------------------------------------


def pre_ln(block, x, scale=1, branch=1):
    x = x + block.attention(block.norm("attn", x, scale)) * branch
    return x + block.ffn(block.norm("ffn", x, scale)) * branch


def post_ln(block, x, alpha=1):
    x = block.norm("attn_out", alpha * x + block.attention(x))
    return block.norm("ffn_out", alpha * x + block.ffn(x))


def norm_after(block, x):
    x = x + block.norm("attn_out", block.attention(x))
    return x + block.norm("ffn_out", block.ffn(x))


def sandwich(block, x, before=1, after=1):
    x = x + block.norm("attn_out", block.attention(block.norm("attn", x, before)), after)
    return x + block.norm("ffn_out", block.ffn(block.norm("ffn", x, before)), after)


def keel(block, x, alpha, first):
    y = block.attention(block.norm("attn", x))
    x = x + y if first else block.norm("attn_out", alpha * x + y)
    return block.norm("ffn_out", alpha * x + block.ffn(block.norm("ffn", x)))


def parallel(block, x, shared):
    y = block.norm("attn", x)
    return x + block.attention(y) + block.ffn(y if shared else block.norm("ffn", x))


def scaled_branches(block, x):
    x = x + block.placement.attn_scale * block.attention(block.norm("attn", x))
    return x + block.placement.ffn_scale * block.ffn(block.norm("ffn", x))


def linear(block, x):
    return x + F.linear(x, block.placement.weight, block.placement.bias)


FRONT, BEHIND = ("attn", "ffn"), ("attn_out", "ffn_out")
PRE, POST, AROUND = (pre_ln, {}, FRONT), (post_ln, {}, BEHIND), (sandwich, {}, FRONT + BEHIND)


def placed(options, l, depth):
    """What block l of `depth` is under a placement: its function, the function's arguments, the slots of its norms."""
    name, scale = options["name"], l ** -0.5
    if name in ("pre_ln", "pre_ln_scaled", "pre_ln_mitchell", "pre_ln_megatron"):
        return pre_ln, {"branch": options.get("branch_scale", 1)}, FRONT
    if name == "lns":
        return pre_ln, {"scale": scale}, FRONT
    if name == "post_ln":
        return POST
    if name in ("deepnorm", "deepnorm_paper"):
        return post_ln, {"alpha": (2 * depth) ** 0.25 if name == "deepnorm" else 2.828427}, BEHIND
    if name in ("mix_ln", "scale_post_pre"):
        return POST if l <= math.floor(options["a"] * depth + 1e-9) else PRE
    if name in ("pre_post_pre_post", "post_pre_post_pre"):
        return POST if (l % options["every"] == 0) == (name == "pre_post_pre_post") else PRE
    if name == "norm_after":
        return norm_after, {}, BEHIND
    if name == "keel":
        slots = FRONT + (("ffn_out",) if l == 1 else BEHIND)
        return keel, {"alpha": options["alpha"] or 2 * depth, "first": l == 1}, slots
    if name in ("sandwich", "peri_ln"):
        return AROUND
    if name == "lns_sandwich":
        return sandwich, {"before": scale, "after": scale if options["both"] else 1}, FRONT + BEHIND
    if name == "parallel":
        return parallel, {"shared": options["shared"]}, FRONT[:1] if options["shared"] else FRONT
    if name in ("pre_post", "pre_sandwich"):
        return PRE if l <= options["first"] else POST if name == "pre_post" else AROUND
    if name in ("layerscale", "skipinit"):
        return scaled_branches, {}, FRONT
    if name == "linear":
        return linear, {}, ()
    raise ValueError(f"modeling_sonde.py knows no placement '{name}'")


class PlacementParameters(nn.Module):
    def __init__(self, function, options, width):
        super().__init__()
        if function is linear:
            self.weight, self.bias = nn.Parameter(torch.zeros(width, width)), vector(width, 0)
        else:
            size = width if options["name"] == "layerscale" else 1
            self.attn_scale, self.ffn_scale = vector(size), vector(size)


class Block(nn.Module):
    """The weights of a block; a later block may use them too, in its own place."""

    def __init__(self, options, width):
        super().__init__()
        function, arguments, slots = options["placed"]
        l, depth, without = options["layer"], options["depth"], options.get("without")
        plain = function is pre_ln and arguments.get("branch", 1) == 1
        follows = without != "attn" and (plain or (function is keel and arguments["first"]))
        for slot in slots:
            norm = chosen(NORMS, "norm", options["norm"])
            setattr(self, NORM_NAMES[slot], norm(options["norm"], Place(slot, l, depth, follows), width))
        if function is not linear and without != "attn":
            self.self_attn = chosen(ATTENTIONS, "attention", options["attention"])(options["attention"], width)
        if function is not linear and without != "ffn":
            self.mlp = chosen(FFNS, "feed-forward layer", options["ffn"])(options["ffn"], width)
        if function in (linear, scaled_branches):
            self.placement = PlacementParameters(function, options["placement"], width)


class Pass:
    """A block while it computes: what placements are written with."""

    def __init__(self, block, options, where, cache, index):
        self.block, self.without = block, options.get("without")
        self.where, self.cache, self.index, self.seen = where, cache, index, {"factor": 1}
        self.placement = getattr(block, "placement", None)

    def norm(self, slot, x, scale=1):
        y = getattr(self.block, NORM_NAMES[slot])(x, self.seen)
        if slot == "attn":
            self.seen["factor"] = scale
        return y if scale == 1 else y * scale

    def attention(self, x):
        if self.without == "attn":
            return torch.zeros_like(x)
        return self.block.self_attn(x, self.where, self.cache, self.index)

    def ffn(self, x):
        return torch.zeros_like(x) if self.without == "ffn" else self.block.mlp(x)


# ---- the model ------------------------------------------------------------------------------------------------------


def blocks_of(model):
    """The options of every block: those of the model, changed by its own."""
    own, blocks = model.get("layers") or {}, []
    for index in range(model["depth"]):
        options = {"layer": index + 1, "depth": model["depth"]}
        options.update({kind: model[kind] for kind in ("norm", "attention", "ffn", "placement")})
        options.update(own.get(str(index), {}))
        options["placed"] = placed(options["placement"], options["layer"], options["depth"])
        blocks.append(options)
    return blocks


class SondePreTrainedModel(PreTrainedModel):
    config_class = SondeConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]
    _supports_cache_class = True

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding, Matrices)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class SondeModel(SondePreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        model = config.sonde["model"]
        width, scale = model["width"], model["embed_scale"]
        self.blocks, self.width = blocks_of(model), width
        inner = model.get("embed_width") or width
        self.embed_tokens = nn.Embedding(model["vocab"], inner)
        self.project_in = nn.Linear(inner, width, bias=False) if inner != width else nn.Identity()
        self.project_out = nn.Linear(width, inner, bias=False) if inner != width else nn.Identity()
        self.offset, self.embed_positions = model.get("position_offset", 0), None
        if model.get("positions") == "learned":
            self.embed_positions = nn.Embedding(self.offset + model["context"], width)
        fixed = {"none": 1, "fixed": math.sqrt(width), "learned": None}
        self.fixed_scale = fixed[scale] if isinstance(scale, str) else scale
        self.register_parameter("embed_scale", vector(1, math.sqrt(width)) if scale == "learned" else None)
        self.layers = nn.ModuleDict({str(i): Block(options, width) for i, options in enumerate(self.blocks)
                                     if options.get("share") is None})
        final = model["final_norm"]
        self.norm = None
        if final["name"] != "none":
            self.norm = chosen(NORMS, "norm", final)(final, Place("final", 0, model["depth"]), width)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def where(self, x, mask, positions, past):
        """Positions [B, T], how far each key is back from each query [T, past + T], and which keys it sees under a
        window (0: none), [B or 1, 1, T, past + T]."""
        length = x.shape[1]
        at = torch.arange(past, past + length, device=x.device)
        if mask is not None and mask.dim() != 2:
            raise ValueError("attention_mask must be [batch, length]: 1 for tokens, 0 for padding")
        if positions is None:
            positions = at.unsqueeze(0)
            if mask is not None:
                positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:past + length]
        away = at[:, None] - torch.arange(past + length, device=x.device)[None, :]

        def seen(window):
            allowed = (away >= 0) if not window else (away >= 0) & (away < window)
            allowed = allowed[None, None]
            return allowed if mask is None else allowed & mask[:, None, None, :past + length].bool()

        return {"positions": positions, "away": away, "seen": seen}

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, streams=None, **kwargs):
        """The stream after the final norm [B, T, D], of the embedding's width where that is another; the streams before
        it are added to the list `streams`."""
        x = self.project_in(self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds)
        x = x * (self.fixed_scale if self.embed_scale is None else self.embed_scale.to(x.dtype))
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        where, index = self.where(x, attention_mask, position_ids, past), 0
        if self.embed_positions is not None:
            x = x + self.embed_positions(where["positions"] + self.offset)
        for i, options in enumerate(self.blocks):
            if streams is not None:
                streams.append(x)
            function, arguments, _ = options["placed"]
            block = self.layers[str(options.get("share", i))]
            x = function(Pass(block, options, where, past_key_values, index), x, **arguments)
            index += function is not linear and options.get("without") != "attn"      # a cache counts what it gets
        x = self.project_out(x if self.norm is None else self.norm(x, {}))
        if streams is not None:
            streams.append(x)
        return x


class SondeForCausalLM(SondePreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = SondeModel(config)
        self.lm_head = nn.Linear(config.sonde["model"].get("embed_width") or config.hidden_size, config.vocab_size,
            bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def logits(self, x):
        model = self.config.sonde["model"]
        scale, cap = model.get("logit_scale", 1), model.get("logit_softcap", 0)
        y = self.lm_head(x if scale == 1 else x * scale)
        return torch.tanh(wide(y) / cap) * cap if cap else y

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, labels=None, use_cache=None, output_hidden_states=None, return_dict=None,
                logits_to_keep=0, num_items_in_batch=None, **kwargs):
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        streams = [] if output_hidden_states else None
        x = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, streams)
        logits = self.logits(x[:, -logits_to_keep:] if logits_to_keep else x)
        loss = None
        if labels is not None:      # label t is the token at t: each position predicts the one after it
            scores, wanted = wide(logits[:, :-1]).flatten(0, 1), labels[:, 1:].flatten().to(logits.device)
            loss = F.cross_entropy(scores, wanted, reduction="mean" if num_items_in_batch is None else "sum")
            loss = loss if num_items_in_batch is None else loss / num_items_in_batch
        result = CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values,
                                        hidden_states=tuple(streams) if streams else None)
        return result.to_tuple() if return_dict is False else result

"""Sonde's norms in PyTorch, for modeling_sonde.py: doc/norms.md has their names and options."""
import torch
from torch import nn


def vector(size, value=1.0):
    return nn.Parameter(torch.full((size,), float(value)))


def wide(x):
    """At least f32: statistics are never taken in 16 bits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def root_mean_square(x, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


class Place:
    """Where a norm is: the slot ("attn", "ffn", "attn_out", "ffn_out", "final"), the block l of L (l = 0: no block) and
    whether the stream there is that of the slot "attn" plus the attention's output."""

    def __init__(self, slot, layer, depth, follows=False):
        self.slot, self.layer, self.depth, self.follows = slot, layer, depth, follows

    def first(self, options, name):
        """The option for the first value there: name_attn, name_ffn or name_final."""
        kind = "final" if self.slot == "final" else self.slot[:3] if self.slot.startswith("ffn") else "attn"
        return options[f"{name}_{kind}"]

    @property
    def in_front(self):
        return self.slot in ("attn", "ffn")


class Norm(nn.Module):
    """forward(x, seen): x [..., D]; `seen` is what the norms of one block tell each other."""

    def __init__(self, options, place, width):
        super().__init__()
        self.options, self.place = options, place
        self.offset = 1 if options.get("unit_offset") else 0      # of the gain over the weight
        ungained = options.get("folded") and place.in_front or not options.get("gain", True)
        self.register_parameter("weight", None if ungained else vector(width, 1 - self.offset))

    def gained(self, y, x):
        return (y if self.weight is None else y * (self.weight + self.offset)).to(x.dtype)


class RMSNorm(Norm):
    def forward(self, x, seen):
        return self.gained(root_mean_square(wide(x), self.options["eps"]), x)


class LayerNorm(Norm):
    def __init__(self, options, place, width):
        super().__init__(options, place, width)
        self.register_parameter("bias", vector(width, 0) if options["bias"] else None)

    def forward(self, x, seen):
        z = wide(x)
        z = root_mean_square(z - z.mean(-1, keepdim=True), self.options["eps"])
        return self.gained(z, z).add(0 if self.bias is None else self.bias).to(x.dtype)


class DyT(Norm):
    def __init__(self, options, place, width):
        super().__init__(options, place, width)
        self.alpha = vector(1, place.first(options, "alpha"))
        self.register_parameter("bias", vector(width, 0) if options["bias"] else None)

    def forward(self, x, seen):
        z = torch.tanh(self.alpha * wide(x))
        return self.gained(z, z).add(0 if self.bias is None else self.bias).to(x.dtype)


class Derf(Norm):
    def __init__(self, options, place, width):
        super().__init__(options, place, width)
        self.alpha, self.shift = vector(1, place.first(options, "alpha")), vector(1, options["shift"])
        self.bias = vector(width, 0)

    def forward(self, x, seen):
        z = torch.erf(self.alpha * wide(x) + self.shift)
        return self.gained(z, z).add(self.bias).to(x.dtype)


class BHyT(Norm):
    """tanh(lambda x / (kappa sqrt(v + eps))); v the mean square, which the norm in front of the feed-forward layer
    estimates from that in front of the attention (`estimates`) unless it is told to measure."""

    def __init__(self, options, place, width):
        super().__init__(options, place, width)
        power = {"none": 0, "decay": -0.5, "grow": 0.5, "mild_grow": 0.25}[options["kappa_schedule"]]
        self.kappa = options["kappa"] * (place.layer or place.depth + 1) ** power
        self.lam = place.first(options, "lambda")
        if self.lam and options["learn_lambda"]:
            self.register_parameter("lambda", vector(1, self.lam))
        listed = [int(n) for n in options.get("exact_blocks", "").split(",") if n]
        measures = (options["name"] == "bhyt_star" or place.layer <= options.get("exact_first", 0)
                    or place.layer - 1 in listed)
        self.takes = self.lam and place.slot == "ffn" and not measures
        self.estimates = self.takes and place.follows
        self.variance = options.get("variance", "plain")
        if self.estimates:
            names = {"plain": (), "beta": ("beta",), "eta": ("eta",), "residual_aware": ("beta", "alpha")}
            for name in names[self.variance]:
                first = {"beta": self.variance == "beta", "eta": False, "alpha": True}[name]
                self.register_parameter("variance_" + name, vector(1, first))
            if self.variance != "eta":
                self.register_buffer("attention_variance", torch.zeros(1))

    def factor(self):
        return getattr(self, "lambda") if self.options["learn_lambda"] else self.lam

    def estimate(self, seen):
        square = seen["square"]
        if self.variance == "eta":
            return square * (1 + self.variance_eta)
        added = self.attention_variance * (seen["factor"] * seen["lambda"]) ** 2 / self.kappa ** 2
        if self.variance == "beta":
            added = self.variance_beta * added
        if self.variance == "residual_aware":
            square, added = square * (1 + self.variance_beta), self.variance_alpha * added
        return square + added

    def forward(self, x, seen):
        z = wide(x)
        if not self.lam:
            return self.gained(root_mean_square(z, self.options["eps"]), x)
        if self.estimates:
            square = self.estimate(seen)
        elif self.takes and seen.get("input") is x:
            square = seen["square"]
        else:
            square = z.pow(2).mean(-1, keepdim=True)
        if self.place.slot == "attn":
            seen.update({"input": x, "square": square, "lambda": self.factor()})
        z = torch.tanh(self.factor() / self.kappa * z * torch.rsqrt(square + self.options["eps"]))
        return self.gained(z, x)


NORMS = {"rmsnorm": RMSNorm, "layernorm": LayerNorm, "dyt": DyT, "derf": Derf, "bhyt": BHyT, "bhyt_star": BHyT}

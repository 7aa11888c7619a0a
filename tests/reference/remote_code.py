#!/usr/bin/python3
"""remote_code.py - runs the code for transformers that lies in model folders, without transformers.

    /usr/bin/python3 remote_code.py FOLDER...          (Debian's python3-torch; nothing else)

The few base classes that the code needs are stood in for below. Each folder holds probe.json, written by the test:
{"tokens": [[...], ...], "logits": [...], "loss": number}, by Sonde. In f64 the logits and the loss must be equal to
1e-5 of the largest, the logits of stacks that amplify rounding to four times what f32 loses in PyTorch; decoding token
by token with a cache, and a batch padded on the left, must change nothing. Prints
one line a folder that is wrong, and how many were right.
"""
import importlib.util
import copy
import json
import os
import struct
import sys
import types

import torch


class PretrainedConfig:
    def __init__(self, **kwargs):
        for name, value in kwargs.items():
            setattr(self, name, value)


class PreTrainedModel(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config

    def post_init(self):
        self.apply(self._init_weights)


class DynamicCache:
    def __init__(self):
        self.layers = []

    def update(self, k, v, index):
        if index == len(self.layers):
            self.layers.append((k, v))
        else:
            self.layers[index] = tuple(torch.cat(pair, 2) for pair in zip(self.layers[index], (k, v)))
        return self.layers[index]

    def get_seq_length(self):
        return self.layers[0][0].shape[2] if self.layers else 0


class Output(types.SimpleNamespace):
    def to_tuple(self):
        return tuple(v for v in vars(self).values() if v is not None)


def stand_in():
    members = {
        "transformers": {"PretrainedConfig": PretrainedConfig, "PreTrainedModel": PreTrainedModel},
        "transformers.cache_utils": {"DynamicCache": DynamicCache},
        "transformers.generation": {"GenerationMixin": type("GenerationMixin", (), {})},
        "transformers.modeling_outputs": {"CausalLMOutputWithPast": Output},
    }
    for name, content in members.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)


def code_of(folder):
    """The module that auto_map names, as a part of a package that is the folder."""
    package = types.ModuleType("folder")
    package.__path__ = [folder]
    for name in [n for n in sys.modules if n == "folder" or n.startswith("folder.")]:
        del sys.modules[name]
    sys.modules["folder"] = package
    for name in ("configuration_sonde", "norms_sonde", "modeling_sonde"):
        spec = importlib.util.spec_from_file_location("folder." + name, os.path.join(folder, name + ".py"))
        module = sys.modules["folder." + name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["folder.configuration_sonde"], sys.modules["folder.modeling_sonde"]


def weights_of(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, body = json.loads(f.read(size)), f.read()
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    assert header.pop("__metadata__") == {"format": "pt"}
    return {name: torch.frombuffer(bytearray(body[slice(*t["data_offsets"])]), dtype=kinds[t["dtype"]])
            .reshape(t["shape"]).double() for name, t in header.items()}


def model_of(folder):
    with open(os.path.join(folder, "config.json")) as f:
        tree = json.load(f)
    assert tree["auto_map"] == {"AutoConfig": "configuration_sonde.SondeConfig",
                                "AutoModelForCausalLM": "modeling_sonde.SondeForCausalLM"}
    configuration, modeling = code_of(folder)
    config = configuration.SondeConfig(**tree)
    model = modeling.SondeForCausalLM(config).double().eval()
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    missing, extra = model.load_state_dict(weights_of(folder), strict=False)
    tied = ["lm_head.weight"] if config.tie_word_embeddings else []
    assert sorted(missing) == tied and not extra, f"missing {missing}, extra {extra}"
    return model


def largest_difference(a, b):
    assert torch.isfinite(a).all() and a.shape == b.shape
    return (a - b).abs().max().item() / max(b.abs().max().item(), 1e-30)


def check(folder):
    with open(os.path.join(folder, "probe.json")) as f:
        probe = json.load(f)
    model, tokens = model_of(folder), torch.tensor(probe["tokens"])
    with torch.no_grad():
        out = model(tokens, labels=tokens, output_hidden_states=True)
        wanted = torch.tensor(probe["logits"]).double().reshape(out.logits.shape)
        off = largest_difference(out.logits, wanted)
        # Some stacks (Dynamic Tanh under DeepNorm) amplify f32's rounding, PyTorch's too.
        bound = max(1e-5, 4 * largest_difference(copy.deepcopy(model).float()(tokens).logits.double(), out.logits))
        assert off < bound, f"logits are {off:.2g} off, over {bound:.2g}"
        assert abs(out.loss.item() - probe["loss"]) < 1e-5 * max(1, probe["loss"]), "the loss differs"
        assert len(out.hidden_states) == model.config.num_hidden_layers + 1
        cache, steps = DynamicCache(), []
        for first, last in [(0, 2)] + [(i, i + 1) for i in range(2, tokens.shape[1])]:
            if not has_cache(model):      # nothing to keep, but the position
                break
            steps.append(model(tokens[:, first:last], past_key_values=cache, use_cache=True).logits)
        if steps:
            assert largest_difference(torch.cat(steps, 1), out.logits) < 1e-10, "decoding differs"
        padded = torch.cat([torch.zeros_like(tokens[:, :3]), tokens], 1)
        mask = torch.ones_like(padded)
        mask[:, :3] = 0
        got = model(padded, attention_mask=mask).logits[:, 3:]
        assert largest_difference(got, out.logits) < 1e-10, "padding on the left differs"


def has_cache(model):
    return any(hasattr(block, "self_attn") for block in model.model.layers.values())


def main():
    stand_in()
    wrong = 0
    for folder in sys.argv[1:]:
        try:
            check(folder)
        except Exception as problem:      # one folder's fault must not hide the others'
            wrong += 1
            print(f"{folder}: {type(problem).__name__}: {problem}")
    print(f"{len(sys.argv) - 1 - wrong} of {len(sys.argv) - 1} folders")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""read_gguf.py - reads a GGUF file by its definition, and compares it with the folder of the same model.

    python3 read_gguf.py FILE.gguf [FOLDER]          (nothing but Python)

Prints the keys as JSON. With a folder (safetensors, f32) every tensor must be its, rounded as the file's dtype asks;
rows of a Llama's queries and keys are exchanged as llama.cpp's rotation needs it, and a Gemma's gains are 1 more.
"""
import json
import os
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value, = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(count)]
        return self.take(SCALARS[kind])


def read(path):
    with open(path, "rb") as f:
        r = Reader(f.read())
    assert r.data[:4] == b"GGUF"
    r.at = 4
    assert r.take("I") == 3
    tensors, keys, infos = r.take("Q"), {}, {}
    for _ in range(r.take("Q")):
        key = r.string()
        assert key not in keys, key
        keys[key] = r.value(r.take("I"))
    for _ in range(tensors):
        name = r.string()
        dims = [r.take("Q") for _ in range(r.take("I"))]
        infos[name] = (dims, r.take("I"), r.take("Q"))
    start, end, found = (r.at + 31) // 32 * 32, 0, {}
    for name, (dims, kind, offset) in infos.items():
        count = 1
        for dim in dims:
            count *= dim
        assert offset % 32 == 0 and offset >= end, name
        size = {0: 4, 1: 2, 30: 2}[kind] * count
        raw = r.data[start + offset:start + offset + size]
        assert len(raw) == size, f"{name} is cut short"
        end = offset + size
        found[name] = (dims, kind, numbers(raw, kind, count))
    assert len(r.data) == start + (end + 31) // 32 * 32
    return keys, found


def numbers(raw, kind, count):
    if kind == 30:      # the upper half of an f32
        return list(struct.unpack(f"<{count}f", b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))))
    return list(struct.unpack(f"<{count}{'f' if kind == 0 else 'e'}", raw))


def folder_weights(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, body = json.loads(f.read(size)), f.read()
    header.pop("__metadata__")
    return {name: (t["shape"], list(struct.unpack(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f",
                                                  body[slice(*t["data_offsets"])]))) for name, t in header.items()}


NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
            "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
            "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
BEHIND = {**IN_BLOCK, "ffn_norm": "pre_feedforward_layernorm", "post_attention_norm": "post_attention_layernorm",
          "post_ffw_norm": "post_feedforward_layernorm"}


GPT2 = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "attn_norm": "ln_1", "ffn_norm": "ln_2",
        "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}


def folder_name(name, arch):
    stem, kind = name.rsplit(".", 1)
    if arch == "gpt2":
        *block, stem = stem.split(".")
        return ".".join(["transformer"] + (["h", block[1]] if block else []) + [GPT2[stem], kind])
    if stem.startswith("blk."):
        _, block, stem = stem.split(".")
        return f"model.layers.{block}.{(BEHIND if arch in ('gemma2', 'olmo2') else IN_BLOCK)[stem]}.{kind}"
    return f"{NAMES[stem]}.{kind}"


def in_pairs(values, shape, heads):
    """Row 2 i + s of a head is the head's row s Dh/2 + i."""
    rows, width = shape[0], shape[1] if len(shape) > 1 else 1
    size = rows // heads
    out = []
    for row in range(rows):
        head, place = divmod(row, size)
        source = head * size + place % 2 * (size // 2) + place // 2
        out += values[source * width:(source + 1) * width]
    return out


def close(a, b, kind):
    step = {0: 0, 1: 2 ** -11, 30: 2 ** -8}[kind]
    return abs(a - b) <= step * abs(b) + (2 ** -25 if kind == 1 else 0)


def compare(keys, found, folder):
    weights, arch, left = folder_weights(folder), keys["general.architecture"], set()
    left.update(weights)
    for name, (dims, kind, values) in found.items():
        if name == "rope_freqs.weight":
            continue
        shape, wanted = weights[folder_name(name, arch)]
        left.discard(folder_name(name, arch))
        if arch == "gpt2" and len(shape) > 1 and name.startswith("blk."):      # stored [in, out]
            wanted = [wanted[i * shape[1] + o] for o in range(shape[1]) for i in range(shape[0])]
            shape = shape[::-1]
        assert dims == shape[::-1], (name, dims, shape)
        assert kind == 0 if len(dims) == 1 else True, name
        if arch in ("llama", "granite", "olmo", "smollm3", "deci") and (".attn_q." in name or ".attn_k." in name):
            heads = keys[arch + ".attention.head_count" + ("" if ".attn_q." in name else "_kv")]
            if isinstance(heads, list):      # of each block
                heads = heads[int(name.split(".")[1])]
            wanted = in_pairs(wanted, shape, heads)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            wanted = [1 + w for w in wanted]
            values = [w if abs(v - w) < 1e-6 else v for v, w in zip(values, wanted)]
        assert all(close(a, b, kind) for a, b in zip(values, wanted)), f"{name} has other numbers"
    assert not left, left


def main():
    keys, found = read(sys.argv[1])
    if len(sys.argv) > 2:
        compare(keys, found, sys.argv[2])
    keys["tensors"] = {name: [dims, kind] for name, (dims, kind, _) in found.items()}
    if "rope_freqs.weight" in found:
        keys["rope_freqs"] = found["rope_freqs.weight"][2]
    print(json.dumps(keys))


if __name__ == "__main__":
    main()

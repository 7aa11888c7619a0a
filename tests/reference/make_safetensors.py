#!/usr/bin/python3
"""make_safetensors.py - writes halves.safetensors: what PyTorch makes of f32 numbers in F16 and BF16, and back.

    /usr/bin/python3 make_safetensors.py  (Debian's python3-torch; nothing else)

The container is spelled out here with Python's own json and struct, so that file and reader share no code. Names are
neither sorted nor in the order of their bytes, and the first tensor's size leaves the others unaligned.
"""
import json
import os
import struct

import torch

x = [0.0, -0.0, 1.0, -2.5, 1 / 3, 65504.0, 65519.9, 65520.0, 1e5, -1e9, 3.4e38, float("inf"), float("-inf"),
     2.0 ** -14, 2.0 ** -15, 2.0 ** -24, 2.0 ** -25, 1.5 * 2.0 ** -25, 2.0 ** -26, 1e-40, -6.1e-5, 6.0975552e-5,
     1 + 2.0 ** -11, 1 + 3 * 2.0 ** -11, 1 + 2.0 ** -8, 1 + 3 * 2.0 ** -8, 1 + 2.0 ** -8 + 2.0 ** -20]
torch.manual_seed(1)
f32 = torch.cat([torch.tensor(x, dtype=torch.float32), torch.randn(13) * torch.logspace(-6, 5, 13)])


def raw(t):
    bits = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}[t.dtype]
    letter = "i" if bits == torch.int32 else "h"
    return struct.pack("<%d%s" % (t.numel(), letter), *t.view(bits).tolist())


parts = [("odd", "U8", [3], b"\1\2\3")]
for name, t in [("bf16", f32.bfloat16()), ("f16", f32.half()), ("f32", f32), ("f16_as_f32", f32.half().float()),
                ("bf16_as_f32", f32.bfloat16().float())]:
    dtype = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[t.dtype]
    parts.append((name, dtype, [2, t.numel() // 2], raw(t)))
at, header = 0, {"__metadata__": {"format": "pt"}}
for name, dtype, shape, data in parts:
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
    at += len(data)
text = json.dumps(dict(reversed(header.items()))).encode()
with open(os.path.join(os.path.dirname(__file__) or ".", "halves.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in parts))

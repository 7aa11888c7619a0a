"""Writes inputs that depend on each other as a LayerNorm leaves them, in f32, and NumPy's solution of least norm in f64
for them (lstsq.json). Run in this folder: /usr/bin/python3 make_lstsq.py
"""
import json

import numpy
import torch

ROWS, IN, OUT = 60, 8, 3

torch.manual_seed(7)
norm = torch.nn.LayerNorm(IN)
with torch.no_grad():
    norm.weight.copy_(torch.tensor([1, 0.5, 2, 30, 1, 0.1, 3, 1]))      # columns of very different scale
    norm.bias.copy_(torch.randn(IN))
    x = norm(torch.randn(ROWS, IN) * torch.tensor([1, 2, 3, 1, 0.5, 1, 4, 1]))
    y = torch.tanh(x @ torch.randn(IN, OUT)) + x[:, :OUT]

ones = numpy.concatenate([numpy.ones((ROWS, 1)), x.numpy().astype(numpy.float64)], 1)
z, _, rank, _ = numpy.linalg.lstsq(ones, y.numpy().astype(numpy.float64), rcond=1e-6)
assert rank == IN                                                       # of IN + 1 columns: one is lost
flat = lambda a: [float("%.9g" % v) for v in a.reshape(-1)]
with open("lstsq.json", "w") as f:
    json.dump({"rows": ROWS, "in": IN, "out": OUT, "x": flat(x.numpy()), "y": flat(y.numpy()), "w": flat(z[1:]),
               "b": flat(z[0])}, f)
    f.write("\n")

#!/usr/bin/env python3
"""Writes arrays.npz and packed.npz, NumPy's own archives, stored and deflated; needs numpy."""
import numpy as np

data = np.arange(24, dtype="f4").reshape(2, 3, 4) / 8
arrays = {"data": data, "labels": np.array([0, 1]), "f8": np.array([1.5, -2]), "u1": np.array([200], dtype="u1"),
          "u8": np.array([2**40], dtype="u8"), "b": np.array([True, False]), "i1": np.array([-3, 4], dtype="i1"),
          "i2": np.array([[-300]], dtype="i2"), "scalar": np.float32(3), "none": np.zeros((0, 5), dtype="f4"),
          "ID": np.array("000007"), "columns_first": np.asfortranarray(data), "complex": np.array([1j])}
np.savez("arrays.npz", **arrays)
np.savez_compressed("packed.npz", data=data, zeros=np.zeros(4000, dtype="f4"))

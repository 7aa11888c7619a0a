#!/usr/bin/python3
"""Prints the coefficients of tanh_one in src/cpu/simd_vector.h: P and Q with tanh(x) = x P(x^2) / Q(x^2) on [0, 9.02].

Lawson's iteration towards the least maximum of the relative error: a weighted least-squares fit of P - f Q, its weights
multiplied by the error of the fit before. Beyond 9.0109 tanh is 1 in f32.
"""
import numpy

END, DEGREE, POINTS, ROUNDS = 9.02, 4, 4000, 2000


def fit():
    k = numpy.arange(POINTS)
    x = END * (0.5 - 0.5 * numpy.cos(numpy.pi * (k + 0.5) / POINTS))     # denser at both ends, as the extrema are
    s, f = (x / END) ** 2, numpy.tanh(x) / x
    weight, q_values = numpy.ones(POINTS), numpy.ones(POINTS)
    powers = numpy.stack([s**i for i in range(DEGREE + 1)], 1)
    for _ in range(ROUNDS):
        row = (numpy.sqrt(weight) / (f * numpy.abs(q_values)))[:, None]
        matrix = row * numpy.concatenate([powers, -f[:, None] * powers[:, 1:]], 1)
        found = numpy.linalg.lstsq(matrix, row[:, 0] * f, rcond=1e-18)[0]
        p, q = found[:DEGREE + 1], numpy.concatenate([[1], found[DEGREE + 1:]])
        q_values = powers @ q
        error = numpy.abs(powers @ p / q_values / f - 1)
        weight = weight * (error + 1e-12)
        weight /= weight.sum()
    scale = END ** (2 * numpy.arange(DEGREE + 1))
    return p / scale, q / scale, error.max()


if __name__ == "__main__":
    p, q, error = fit()
    for name, values in (("P", p), ("Q", q)):
        print(name, " ".join("%.8g" % numpy.float32(v) for v in values))
    print("relative error %.2g, %.2f of half an ulp" % (error, error * 2**24))

#!/usr/bin/python3
"""Prints the coefficients of tanh_one and erf_one in src/cpu/simd_vector.h: P and Q with f(x) = x P(x^2) / Q(x^2) on
[0, END], behind which f is 1 in f32.

Lawson's iteration towards the least maximum of the relative error: a weighted least-squares fit of P - f Q, its weights
multiplied by the error of the fit before.
"""
import math

import numpy

POINTS, ROUNDS = 4000, 2000


def fit(function, end, degree):
    k = numpy.arange(POINTS)
    x = end * (0.5 - 0.5 * numpy.cos(numpy.pi * (k + 0.5) / POINTS))     # denser at both ends, as the extrema are
    s, f = (x / end) ** 2, numpy.array([function(v) for v in x]) / x
    weight, q_values = numpy.ones(POINTS), numpy.ones(POINTS)
    powers = numpy.stack([s**i for i in range(degree + 1)], 1)
    for _ in range(ROUNDS):
        row = (numpy.sqrt(weight) / (f * numpy.abs(q_values)))[:, None]
        matrix = row * numpy.concatenate([powers, -f[:, None] * powers[:, 1:]], 1)
        found = numpy.linalg.lstsq(matrix, row[:, 0] * f, rcond=1e-18)[0]
        p, q = found[:degree + 1], numpy.concatenate([[1], found[degree + 1:]])
        q_values = powers @ q
        error = numpy.abs(powers @ p / q_values / f - 1)
        weight = weight * (error + 1e-12)
        weight /= weight.sum()
    scale = end ** (2 * numpy.arange(degree + 1))
    return p / scale, q / scale, error.max()


def first_one(function, low, high):
    """The least f32 of which the function is 1 in f32."""
    low, high = (int(numpy.float32(v).view(numpy.int32)) for v in (low, high))
    while low < high:
        middle = (low + high) // 2
        if numpy.float32(function(float(numpy.int32(middle).view(numpy.float32)))) == 1:
            high = middle
        else:
            low = middle + 1
    return numpy.int32(high).view(numpy.float32)


if __name__ == "__main__":
    for function, end, degree in ((math.tanh, 9.02, 4), (math.erf, 3.84, 5)):
        p, q, error = fit(function, end, degree)
        for name, values in (("P", p), ("Q", q)):
            print(function.__name__, name, " ".join("%.8g" % numpy.float32(v) for v in values))
        print("relative error %.2g, %.2f of half an ulp; 1 from %.9g on"
              % (error, error * 2**24, first_one(function, 3, 10)))

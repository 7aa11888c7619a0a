"""Rank correlations as scipy has them, with ties.

Run in this folder: python3 make_correlation.py (needs scipy)
"""
import json
import random

from scipy import stats

random.seed(7)


def case(n, levels):
    """Two lists of n; with few levels many are equal."""
    def value():
        return float(random.randrange(levels)) if levels else round(random.gauss(0, 1), 6)

    x = [value() for _ in range(n)]
    y = [round(0.5 * a + random.gauss(0, 1), 3) if random.random() < 0.8 else value() for a in x]
    return {"x": x, "y": y, "ranks": stats.rankdata(x).tolist(), "rho": stats.spearmanr(x, y)[0]}


cases = [case(n, levels) for n in (3, 5, 9, 20, 57) for levels in (0, 2, 5)]
cases = [c for c in cases if c["rho"] == c["rho"]]
with open("correlation.json", "w") as f:
    f.write('{"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")

"""Writes what CPython and PyTorch give where evaluation on tasks must equal them: few-shot samples and bootstrapped
errors of random.Random, texts cleaned with Python's strings and regexes, rolling windows, and log-likelihoods of
requests by the plain forward pass of make_llama.py. Written from the definitions of the tasks. Run in this folder:
/usr/bin/python3 make_tasks.py
"""
import json
import math
import random
import re

import torch
from make_llama import forward


def mean(xs):
    return sum(xs) / len(xs)


def stddev(xs):
    mu = mean(xs)
    return math.sqrt(sum((x - mu) ** 2 for x in xs) / (len(xs) - 1))


def perplexity(xs):
    return math.exp(-mean(xs))


def f1(xs):
    hits, wrong = sum(x == 3 for x in xs), sum(x in (1, 2) for x in xs)
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def bootstrap(statistic, xs, resamples):
    chunk, results = min(1000, resamples), []
    for i in range(resamples // chunk):
        r = random.Random(i)
        results += [statistic(r.choices(xs, k=len(xs))) for _ in range(chunk)]
    return stddev(results)


def samples():
    list_ = []
    for seed in (0, 1, 1234, 2**31, 2**33 + 5):
        r = random.Random(seed)
        for n, k in ((1, 1), (5, 5), (21, 3), (22, 3), (277, 5), (277, 6), (85, 6), (86, 6), (39905, 6), (100000, 40)):
            list_.append({"seed": seed, "n": n, "k": k, "drawn": r.sample(range(n), k)})
    return list_


def hellaswag(s):
    s = s.strip().replace(" [title]", ". ")
    return re.sub("\\[.*?\\]", "", s).replace("  ", " ")


def wikitext(s):
    s = s.replace("s '", "s'")
    s = re.sub(r"/' [0-9]/", r"/'[0-9]/", s)
    for a, b in ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" : ", ": "), (" ; ", "; "), (" . ", ". "),
                 (" ! ", "! "), (" ? ", "? "), (" , ", ", ")):
        s = s.replace(a, b)
    for a, b in (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'")):
        s = re.sub(rf"{re.escape(a)}\s*([^{re.escape(b)}]*?)\s*{re.escape(b)}", rf"{a}\1{b}", s)
    for a, b in (("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u00b0 ", "\u00b0"), (" \n", "\n"),
                 ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")):
        s = s.replace(a, b)
    return s


def texts():
    r = random.Random(7)
    parts = ["a", "B", "word", " ", " ", "  ", "\n", "[title]", "[", "]", "(", ")", "{", "}", "'", '"', "s '", " 's",
             "=",
             " = = ", " @-@ ", " @,@ ", " , ", " . ", " : ", " N ", "\u00b0", " \u00b0 ", "\u00a0", "\u2003", "\u0085",
             "\x1c", "\u3000", "\u0130", "\u00c9", "\u01c6", "\u4e2d", "\U0001f600", "/' 5/", "/' [0-9]/", "\t"]
    list_ = ["", " ", "x", " [title] A [b\nc] d [e] [", "\u01c6EL \u00c9T\u00c9", "\u1680x\u200a"]
    list_ += ["".join(r.choice(parts) for _ in range(r.randint(1, 40))) for _ in range(150)]
    return [{"text": s, "strip": s.strip(), "lstrip": s.lstrip(), "rstrip": s.rstrip(), "length": len(s),
             "words": len(re.split(r"\s+", s)), "hellaswag": hellaswag(s), "wikitext": wikitext(s),
             "split": s.split(" ")[:-1] and " ".join(s.split(" ")[:-1]) or "", "last": s.split(" ")[-1]}
            for s in list_]


def cases():
    """Letter by letter: where Python makes several letters of one, or looks at the letters around it, is left out."""
    letters = [chr(c) for c in list(range(0x41, 0x250)) + list(range(0x370, 0x530)) + [0x1e9e, 0x10400]]
    ok = [c for c in letters if len(c.lower()) == 1 and len(c.title()) == 1 and c != "\u03a3"]
    text = "".join(ok)
    return {"lower": [text, text.lower()], "capitalize": [[c + "AbC", (c + "AbC").capitalize()] for c in ok[::3]]}


def windows(n, longest):
    """(context, continuation) of ids 1..n behind the prefix 0."""
    ids, out = list(range(1, n + 1)), []
    first = min(longest, n)
    out.append(([0] + ids[: first - 1], ids[:first]))
    at = first
    while at < n:
        size = min(n - at, longest)
        end = at + size
        out.append((ids[end - longest - 1 : end - 1], ids[end - size : end]))
        at = end
    return [[a[: len(a) - (len(b) - 1)], b] for a, b in out]


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = int.from_bytes(data[:8], "little")
    header, body, out = json.loads(data[8 : 8 + n]), data[8 + n :], {}
    for name, t in header.items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            out[name] = torch.frombuffer(bytearray(body[a:b]), dtype=torch.float32).view(t["shape"]).double()
    return out


def likelihoods():
    folder = "llama_gqa"
    with open(folder + "/config.json") as f:
        c = json.load(f)
    w, r, out = read_safetensors(folder + "/model.safetensors"), random.Random(3), []
    for _ in range(12):
        context = [r.randrange(23) for _ in range(r.randint(1, 34))]
        for _ in range(r.randint(1, 4)):
            continuation = [r.randrange(23) for _ in range(r.randint(1, 5))]
            ids = (context + continuation)[-(c["max_position_embeddings"] + 1) :]
            logp = forward(w, c, torch.tensor(ids[:-1])).log_softmax(-1)[-len(continuation) :]
            at = logp[range(len(continuation)), continuation]
            out.append({"context": context, "continuation": continuation, "sum": at.sum().item(),
                        "tokens": at.tolist(), "greedy": bool((logp.argmax(-1) == torch.tensor(continuation)).all())})
    return out


if __name__ == "__main__":
    r = random.Random(11)
    logs = [round(-10 * r.random(), 6) for _ in range(57)]
    codes = [r.randrange(4) for _ in range(91)]
    result = {
        "samples": samples(), "texts": texts(), "cases": cases(), "likelihoods": likelihoods(),
        "windows": [{"n": n, "longest": m, "windows": windows(n, m)} for n, m in ((25, 10), (1, 10), (10, 10), (11, 10),
                                                                                  (20, 10), (7, 1))],
        "bootstrap": [
            {"name": name, "values": xs, "resamples": k, "value": f(xs), "stderr": bootstrap(f, xs, k)}
            for name, f, xs in (("perplexity", perplexity, logs), ("f1", f1, codes)) for k in (10, 999, 3500)],
        "mean_stderr": stddev(logs) / math.sqrt(len(logs)), "mean": mean(logs),
    }
    with open("tasks.json", "w") as f:
        json.dump(result, f, ensure_ascii=True, separators=(",", ":"))

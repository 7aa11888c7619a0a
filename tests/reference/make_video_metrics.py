#!/usr/bin/env python3
"""Measures of warning for random clips, by the plain definitions: every threshold, every clip, every frame. Writes
video_metrics.json; needs numpy. The second part states what the usual script of the field computes."""
import json

import numpy as np


def used(c):
    return c["scores"][:c["event"]] if "event" in c else c["scores"]


def edges(scores, t):
    return sum(1 for j, s in enumerate(scores) if s >= t and (j == 0 or scores[j - 1] < t))


def warning(clips, leads, budget):
    positives = [c for c in clips if "event" in c]
    negatives = [c for c in clips if "event" not in c]
    thresholds = sorted({s for c in clips for s in used(c)}, reverse=True)
    # exact average precision, thresholds at the clips' highest scores
    ap, before = 0.0, 0.0
    for t in sorted({max(used(c)) for c in clips}, reverse=True):
        tp = sum(max(used(c)) >= t for c in positives)
        fp = sum(max(used(c)) >= t for c in negatives)
        ap += (tp / len(positives) - before) * (tp / (tp + fp) if tp + fp else 0)
        before = tp / len(positives)
    # the largest mean time of each recall
    best = {}
    for t in thresholds:
        hit = [c for c in positives if max(used(c)) >= t]
        if hit:
            first = [next(j for j, s in enumerate(used(c)) if s >= t) for c in hit]
            mean = float(np.mean([(c["event"] - a) / c["rate"] for c, a in zip(hit, first)]))
            best[len(hit)] = max(best.get(len(hit), 0), mean)
    recalls = {n / len(positives): v for n, v in best.items()}
    near = min(recalls, key=lambda r: (round(abs(r - 0.8), 12), -r))
    out = {"ap": ap, "mean_tta": float(np.mean(list(recalls.values()))), "tta_r80": recalls[near], "recall_r80": near}
    # frames of all clips
    p = [s for c in clips for j, s in enumerate(c["scores"]) if "from" in c and c["from"] <= j < c["to"]]
    n = [s for c in clips for j, s in enumerate(c["scores"]) if not ("from" in c and c["from"] <= j < c["to"])]
    out["frame_auc"] = sum((a > b) + 0.5 * (a == b) for a in p for b in n) / (len(p) * len(n))
    # recall by a lead at an allowed number of false alarms
    hours = sum(len(c["scores"]) / c["rate"] for c in negatives) / 3600
    chosen = None
    for t in thresholds:
        if sum(edges(c["scores"], t) for c in negatives) > budget * hours + 1e-9:
            break
        chosen = t
    for lead in leads:
        out["recall_%gs" % lead] = 0 if chosen is None else sum(
            any(s >= chosen and j <= c["event"] - int(np.floor(lead * c["rate"] + 0.5))
                for j, s in enumerate(used(c))) for c in positives) / len(positives)
    return out


def usual_script(clips):
    """evaluation() of UString's eval_tools.py as it is understood, its sort made stable and its arrays long enough."""
    labels = np.array([1.0 if "event" in c else 0.0 for c in clips])
    preds = [np.array(used(c)) for c in clips]
    accident = [c.get("event", len(c["scores"])) for c in clips]
    seconds = max(len(c["scores"]) for c in clips) / clips[0]["rate"]
    thresholds = np.arange(max(min(p.min() for p in preds), 0), 1.0, 0.001)
    rows = max(sum(len(p) for p in preds), len(thresholds) + 1)
    precision, recall, time = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    at = 0
    for t in thresholds:
        tp, alarms, relative, hits = 0.0, 0.0, 0.0, 0
        for p, label, toa in zip(preds, labels, accident):
            where = np.where(p * label >= t)[0]
            if len(where):
                tp, relative, hits = tp + 1, relative + where[0] / float(toa), hits + 1
            alarms += float((p >= t).any())
        if alarms == 0:
            continue
        precision[at], recall[at] = tp / alarms, tp / labels.sum()
        if hits == 0:
            continue
        time[at] = 1 - relative / hits
        at += 1
    order = np.argsort(recall, kind="stable")
    precision, recall, time = precision[order], recall[order], time[order]
    _, first = np.unique(recall, return_index=True)
    first = first[1:]
    new_time, new_precision = np.zeros(len(first)), np.zeros(len(first))
    for i in range(len(first) - 1):
        new_time[i] = time[first[i]:first[i + 1]].max()
        new_precision[i] = precision[first[i]:first[i + 1]].max()
    new_time[-1], new_precision[-1] = time[first[-1]], precision[first[-1]]
    new_recall = recall[first]
    ap = new_precision[0] * new_recall[0]
    for i in range(1, len(first)):
        ap += (new_precision[i - 1] + new_precision[i]) * (new_recall[i] - new_recall[i - 1]) / 2
    return {"ap": ap, "mean_tta": new_time.mean() * seconds,
            "tta_r80": new_time[np.argmin(np.abs(new_recall - 0.8))] * seconds,
            "precision_r80": new_precision[np.where(new_recall >= 0.8)[0][0]]}


def random_clips(rng, number, levels):
    clips = []
    for i in range(number):
        frames = int(rng.integers(20, 60))
        rate = 10
        c = {"rate": rate, "scores": (rng.integers(1, levels, frames) / levels).round(6).tolist()}
        if i < 2 or (i > 3 and rng.random() < 0.5):
            c["event"] = int(rng.integers(10, frames))
            c["from"], c["to"] = c["event"] - 5, min(c["event"] + 3, frames)
            rise = np.clip(np.arange(frames) - c["event"] + 10, 0, 10) / 30
            c["scores"] = np.minimum(np.array(c["scores"]) * 0.7 + rise, 0.999).round(6).tolist()
        clips.append(c)
    return clips


def main():
    rng = np.random.default_rng(7)
    cases = []
    for number, levels, budget in [(8, 10, 0), (12, 40, 400), (20, 997, 900), (30, 7, 3000), (16, 997, 1e6)]:
        clips = random_clips(rng, number, levels)
        leads = [0, 0.3, 0.5, 1]
        cases.append({"clips": clips, "leads": leads, "alarms_per_hour": budget,
                      "expected": warning(clips, leads, budget), "ustring": usual_script(clips)})
    with open("video_metrics.json", "w") as f:
        json.dump({"cases": cases}, f, separators=(",", ":"))
        f.write("\n")


main()

"""Evaluations of a loss, by how they summarise their batches."""

import torch

from check_cases.losses import mean_of, of_weighted_classes, of_z
from check_cases.steps import size_of


def evaluation(loss, how):
    def run(model, batches):
        pairs = []
        with torch.no_grad():
            for batch in batches:
                total, weight = loss(model, batch)
                pairs.append((total.item(), float(weight), size_of(batch)))
        return summarise(pairs, how)

    return run


def summarise(pairs, how):
    if how == "pooled":
        return sum(t for t, _, _ in pairs) / sum(w for _, w, _ in pairs)
    means = [t / w if w else float("nan") for t, w, _ in pairs]
    if how == "means":
        return sum(means) / len(means)
    if how == "by samples":
        return sum(m * n for m, (_, _, n) in zip(means, pairs, strict=True)) / sum(
            n for _, _, n in pairs
        )
    if how == "without nan":
        good = [(t, w) for t, w, _ in pairs if t == t]
        return sum(t for t, _ in good) / sum(w for _, w in good)
    if how == "sum":
        return sum(means)
    if how == "over samples":
        return sum(means) / sum(n for _, _, n in pairs)
    if how == "perplexity of means":
        return 2.0 ** (sum(means) / len(means))
    if how == "perplexity":
        return 2.0 ** (sum(t for t, _, _ in pairs) / sum(w for _, w, _ in pairs))
    return means[-1]


@torch.no_grad()
def weighted_and_z(model, batches):
    """The mean of batches' objectives, each the sum of two means of unlike weights."""
    values = [
        (mean_of(of_weighted_classes, model, b) + mean_of(of_z, model, b)).item() for b in batches
    ]
    return sum(values) / len(values)

"""Ratios of counts are those that scikit-learn computes, over a pass and over its batches."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from batchproof.watch import watch

SCORES = {
    "F1": f1_score,
    "IoU": jaccard_score,
    "precision": precision_score,
    "recall": recall_score,
}
SIZE, SAMPLES = 16, 72


def shown(score, classes, average, *, by_batch, size=SIZE):
    """What is said of a score of random predictions, printed after each of three passes."""
    generator = torch.Generator().manual_seed(classes)
    more = {"average": average, "zero_division": 0}
    with watch() as seen:
        for _ in range(3):
            logits = torch.randn(SAMPLES, classes, generator=generator)
            target = torch.randint(classes, (SAMPLES,), generator=generator)
            of_batches = []
            for x, y in DataLoader(TensorDataset(logits, target), size):
                F.cross_entropy(x, y)
                of_batches.append(score(y, x.argmax(1), **more))
            whole = score(target, logits.argmax(1), **more)
            print(f"score {np.mean(of_batches) if by_batch else whole:.6f}")
    report = seen.report()
    (number,) = report.numbers
    return report.names, number


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(("classes", "average"), [(2, "binary"), (5, "macro"), (5, "weighted")])
def test_a_score_of_the_pass_is_right_and_the_mean_of_those_of_batches_is_not(
    name, classes, average
):
    names, number = shown(SCORES[name], classes, average, by_batch=False)
    assert not names
    # the weighted recall is the accuracy
    assert number["grade"] == "right"
    names, number = shown(SCORES[name], classes, average, by_batch=True)
    if (name, average) != ("recall", "weighted"):
        assert names == ("ratio-of-counts",)
        assert name in number["is"]


def test_the_mean_of_the_scores_of_samples_is_not_accused():
    names, _ = shown(f1_score, 5, "macro", by_batch=True, size=1)
    assert not names

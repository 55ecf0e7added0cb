"""Objectives of three terms: one is weighted by what no count in the batches is."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from batchproof.check import check_step

G = torch.Generator().manual_seed(3)
SAMPLES = [
    (torch.randn(7, 4, generator=G), torch.randint(3, (7,), generator=G), torch.arange(7) < n,
     torch.tensor(i % 3), torch.rand((), generator=G))
    for i, n in enumerate((2, 7, 1, 5, 3, 6, 4))
]  # fmt: skip
CLASS_WEIGHTS = torch.tensor([0.3, 1.0, 2.5])


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(4, 5)
        self.tags, self.kind, self.value = nn.Linear(5, 3), nn.Linear(5, 3), nn.Linear(5, 1)

    def forward(self, x):
        hidden = self.trunk(x).tanh()
        whole = hidden.mean(1)
        return self.tags(hidden), self.kind(whole), self.value(whole).squeeze(1)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        logits = self.layer(x)
        return logits, logits.mean(1), logits.mean((1, 2))


def build(kind):
    model = kind()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def exact(part, _own, whole, _batches):
    return part / whole


def averaged(part, own, _whole, batches):
    return part / own / batches


def summed(part, own, _whole, _batches):
    return part / own


def stepping(tags, kind, value):
    """A step of three means: over tokens, over class weights and over samples, each by a rule."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        tokens = sum(mask.sum() for _, _, mask, _, _ in batches)
        weights = sum(CLASS_WEIGHTS[c].sum() for _, _, _, c, _ in batches)
        samples = sum(len(x) for x, *_ in batches)
        total = 0.0
        for x, y, mask, c, target in batches:
            a, b, v = model(x)
            over_tokens = (F.cross_entropy(a.transpose(1, 2), y, reduction="none") * mask).sum()
            over_weights = (F.cross_entropy(b, c, reduction="none") * CLASS_WEIGHTS[c]).sum()
            loss = (
                tags(over_tokens, mask.sum(), tokens, len(batches))
                + kind(over_weights, CLASS_WEIGHTS[c].sum(), weights, len(batches))
                + value((v - target).square().sum(), len(x), samples, len(batches))
            )
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return run


@pytest.mark.parametrize("model", [Heads, Shared])
def test_three_terms_of_which_no_count_is_one_are_named_each(model):
    run = stepping(exact, averaged, exact)
    report = check_step(run, SAMPLES, build=partial(build, model))
    assert report.names == ("term-scaled-apart",), str(report)
    (diagnosis,) = report.diagnoses
    assert "three terms that are scaled differently" in diagnosis.sentence
    assert "(a mean over samples) is right" in diagnosis.sentence
    assert "(a mean over unmasked elements of batch[2]) is right" in diagnosis.sentence
    weights = "(0.266, 0.886, 2.22, 0.266, 0.886, 2.22, ...)"
    named = f"(a mean over weights that match no count in the batches {weights}) is averaged"
    assert named in diagnosis.sentence
    alone = "kind.weight, kind.bias (a mean over weights" in diagnosis.sentence
    assert alone == (model is Heads)


def test_a_sum_beside_two_means_is_named_with_the_parameters_that_it_reaches():
    report = check_step(stepping(exact, exact, summed), SAMPLES, build=partial(build, Heads))
    assert report.names == ("term-scaled-apart",), str(report)
    text = "the term that alone reaches value.weight, value.bias (a mean over samples) is summed"
    assert text in report.diagnoses[0].sentence


def test_three_means_of_micro_batches_are_named_by_their_weights():
    run = stepping(averaged, averaged, averaged)
    report = check_step(run, SAMPLES, build=partial(build, Heads))
    wrong = {"mean-of-micro-batch-means", "weight-per-micro-batch"}
    assert set(report.names) - {"empty-micro-batch-nan"} == wrong, str(report)


def test_three_exact_means_are_right():
    report = check_step(stepping(exact, exact, exact), SAMPLES, build=partial(build, Heads))
    assert report.ok, str(report)

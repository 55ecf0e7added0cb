"""Code that computes in float32: a law has to predict what a cut changes, not the whole."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from batchproof.check import check_evaluate, check_step


def long_sequences(lengths):
    g = torch.Generator().manual_seed(0)
    draw = [(torch.randint(1, 40, (n,), generator=g), n) for n in lengths]
    return [(ids, torch.randint(0, 5, (n,), generator=g)) for ids, n in draw]


def pad_pairs(samples):
    return tuple(
        pad_sequence([s[k] for s in samples], batch_first=True, padding_value=value)
        for k, value in ((0, 0), (1, -100))
    )


class Head(nn.Module):
    """Gives its logits in another type, as heads of language models do."""

    def __init__(self, dtype):
        super().__init__()
        self.embed, self.head, self.dtype = nn.Embedding(40, 8), nn.Linear(8, 5), dtype

    def forward(self, ids):
        return self.head(self.embed(ids)).to(self.dtype)


def means_by_rows(model, optimizer, batches):
    rows = sum(len(ids) for ids, _ in batches)
    optimizer.zero_grad()
    for ids, labels in batches:
        loss = F.cross_entropy(model(ids).transpose(1, 2), labels)
        (loss * len(ids) / rows).backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("longest", [203, 1003])
def test_a_cut_that_changes_little_is_given_its_true_cause(dtype, longest):
    lengths = [longest - n for n in (3, 2, 1, 3, 0, 2, 3, 1)]

    def build():
        model = Head(dtype)
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    samples = long_sequences(lengths)
    report = check_step(means_by_rows, samples, build=build, collate=pad_pairs)
    assert report.names == ("mean-of-micro-batch-means",), str(report)
    assert report.unit_text == "elements of [1] other than -100"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_evaluation_in_float32_is_not_said_to_count_padding(dtype):
    def evaluate(model, batches):
        values = [
            3.7 + 0.1 * torch.sin(ids.to(dtype))[y != -100].mean().item() for ids, y in batches
        ]
        rows = [len(ids) for ids, _ in batches]
        return sum(n * value for n, value in zip(rows, values, strict=True)) / sum(rows)

    g = torch.Generator().manual_seed(1)
    samples = [
        (torch.randint(1, 40, (n,), generator=g), torch.ones(n, dtype=torch.long))
        for n in (2, 4, 6, 8, 10, 12, 14, 16)
    ]
    report = check_evaluate(evaluate, samples, build=lambda: nn.Linear(1, 1), collate=pad_pairs)
    assert report.names == ("mean-of-micro-batch-means",), str(report)


def test_what_is_too_near_to_the_noise_is_unknown_for_that_reason():
    """A gradient that wanders with every cut, by little more than float32 can tell."""

    def run(model, optimizer, batches):
        n = sum(len(y) for _, y in batches)
        optimizer.zero_grad()
        for place, (x, y) in enumerate(batches):
            loss = F.cross_entropy(model(x), y, reduction="sum") / n
            (loss * (1 + 1e-4 * (place * place % 3) / len(batches))).backward()
        optimizer.step()

    g = torch.Generator().manual_seed(0)
    samples = [(torch.randn(4, generator=g), torch.tensor(i % 3)) for i in range(7)]

    def build():
        model = nn.Linear(4, 3)
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    report = check_step(run, samples, build=build, dtype=torch.float32)
    assert report.names == ("unknown",), str(report)
    assert "too near to the noise of float32" in report.diagnoses[0].sentence
    report = check_step(run, samples, build=build)
    assert "no known mistake predicts it" in report.diagnoses[0].sentence

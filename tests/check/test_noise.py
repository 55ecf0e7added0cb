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
    assert report.unit_text == "elements of batch[1] other than -100"


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lengths", [(50, 70), (200, 203), (1000, 1003)])
def test_in_half_precision_a_cause_is_the_true_one_or_unknown(dtype, lengths):
    draw = torch.Generator().manual_seed(2)
    each = torch.randint(lengths[0], lengths[1] + 1, (8,), generator=draw).tolist()

    def build():
        model = Head(dtype)
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    report = check_step(means_by_rows, long_sequences(each), build=build, collate=pad_pairs)
    assert report.names in {("mean-of-micro-batch-means",), ("unknown",)}, str(report)
    if report.names == ("unknown",):
        assert "too near to the noise" in report.diagnoses[0].sentence


class Rounded(torch.autograd.Function):
    """A product of matrices that are rounded to ten bits, as TensorFloat-32 does."""

    @staticmethod
    def rounded(value):
        bits = value.detach().float().contiguous().view(torch.int32)
        return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32).to(value)

    @staticmethod
    def forward(ctx, left, right):
        ctx.save_for_backward(left, right)
        return Rounded.rounded(left) @ Rounded.rounded(right)

    @staticmethod
    def backward(ctx, grad):
        left, right = map(Rounded.rounded, ctx.saved_tensors)
        return Rounded.rounded(grad) @ right.T, left.T @ Rounded.rounded(grad)


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(6, 16, generator=draw) * 0.4)
        self.second = nn.Parameter(torch.randn(16, 3, generator=draw) * 0.3)

    def forward(self, x):
        return Rounded.apply(torch.relu(Rounded.apply(x, self.first)), self.second)


def test_noise_that_the_type_does_not_show_is_measured():
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for x, y in batches:
            (F.cross_entropy(model(x), y) / len(batches)).backward()
        optimizer.step()

    def build():
        model = Products()
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    g = torch.Generator().manual_seed(0)
    samples = [(torch.randn(6, generator=g), torch.tensor(i % 3)) for i in range(8)]
    report = check_step(run, samples, build=build, dtype=torch.float32)
    assert report.names == ("mean-of-micro-batch-means",), str(report)
    assert 5e-4 < report.tolerance < 2e-2
    assert any("rounds to fewer digits" in note for note in report.notes)

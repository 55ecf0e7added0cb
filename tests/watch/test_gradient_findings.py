"""What is said of gradients, beside the names that the table of scripts holds."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from batchproof.watch import watch


def windows(model, sizes, *, scale, reduction="mean", optimizer=torch.optim.SGD):
    """The report of a run: one window for each tuple of sizes; scale is a factor of each loss."""
    torch.manual_seed(0)
    stepper = optimizer(model.parameters(), lr=0.01)
    with watch(numbers=False) as seen:
        for window in sizes:
            for size in window:
                output = model(torch.randn(size, 3))
                loss = F.mse_loss(output, torch.zeros(size, 2), reduction=reduction)
                (scale(window, size) * loss).backward()
            stepper.step()
            stepper.zero_grad()
    return seen.report()


def test_batch_statistics_of_micro_batches_are_noted_and_not_wrong():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    report = windows(model, [(4, 4)] * 3, scale=lambda window, size: 0.5)
    assert [(finding.name, finding.grade) for finding in report.findings] == [
        ("batch-norm", "note")
    ]
    assert report.ok


def test_a_constant_factor_is_told_with_what_it_does():
    report = windows(nn.Linear(3, 2), [(4, 4)] * 3, scale=lambda window, size: 1.0)
    (found,) = report.findings
    assert found.name == "not-divided"
    assert "the learning rate is 2 times what you set" in found.sentence
    assert [row["share"] for row in found.evidence["picture"]["rows"]] == [1.0, 1.0]


def test_an_optimiser_that_is_blind_to_the_factor_is_told_otherwise():
    report = windows(
        nn.Linear(3, 2),
        [(4, 4)] * 3,
        scale=lambda window, size: 1.0,
        optimizer=torch.optim.AdamW,
    )
    (found,) = report.findings
    assert "clipping and epsilon see 2 times the gradient" in found.sentence


def test_what_no_law_predicts_is_unknown_and_not_wrong():
    report = windows(nn.Linear(3, 2), [(2, 5), (3, 1)], scale=lambda window, size: size**0.5)
    assert [finding.name for finding in report.findings] == ["unknown"]
    assert report.ok


def test_one_window_that_breaks_a_law_takes_its_name_away():
    sizes = [(4, 2), (4, 2), (4, 2)]
    wrong = windows(nn.Linear(3, 2), sizes, scale=lambda window, size: 0.5)
    assert wrong.names == ("mean-of-micro-batch-means",)
    turn = iter([0.5] * 4 + [0.5, 0.3])
    other = windows(nn.Linear(3, 2), sizes, scale=lambda window, size: next(turn))
    assert other.names == ()


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_a_right_step_is_said_to_be_right_with_its_unit(factor):
    report = windows(
        nn.Linear(3, 2),
        [(2, 5)] * 3,
        scale=lambda window, size: factor * size / sum(window),
    )
    assert report.ok
    (sentence,) = report.right
    said = "each of 14 counts 1/14" if factor == 1 else "times 0.1"
    assert said in sentence
    assert "in each of 3 steps of SGD" in sentence

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


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam", "AdamW"])
def test_the_settings_named_after_a_fix_keep_the_trajectory(name):
    kinds = {"SGD": torch.optim.SGD, "momentum": torch.optim.SGD}
    kind = kinds.get(name) or getattr(torch.optim, name)
    more = {"momentum": 0.9} if name == "momentum" else {}

    def trained(scale, max_norm, **settings):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        optimizer = kind([weight], **(more | settings))
        with watch(numbers=False) as seen:
            for step in range(6):
                for part in (1, 2, 3):
                    target = torch.tensor([part / 9, step / 5], dtype=torch.float64)
                    (scale * F.mse_loss(weight, target)).backward()
                nn.utils.clip_grad_norm_([weight], max_norm)
                optimizer.step()
                optimizer.zero_grad()
        return weight.detach(), seen.report()

    # clip_grad_norm_ adds 1e-6 to the norm, so the limit lies above it here
    before, report = trained(1.0, 1e3, lr=0.1, weight_decay=0.02)
    (found,) = report.findings
    changes = dict(change.partition(" (")[0].split("=") for change in found.evidence["settings"])
    settings = {"lr": 0.1, "weight_decay": 0.02} | {k: float(v) for k, v in changes.items()}
    after, fixed = trained(1 / 3, settings.pop("max_grad_norm"), **settings)
    assert fixed.ok
    assert torch.allclose(before, after, rtol=1e-5)
    assert "To keep the path of this run" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("sizes", "scale", "name", "shown"),
    [
        ([(4, 4), (4, 4), (4,)], 0.5, "fixed-window-size", [0.5]),
        ([(4, 4), (4, 4), (4,)], 0.1, "fixed-window-size", [0.1]),
        ([(4,), (4, 4), (4, 4)], 0.5, "first-window-short", [0.5]),
        ([(4, 4), (4, 4, 4), (4, 4)], 0.5, "leftover-window", [0.5] * 3),
    ],
)
def test_the_picture_is_of_the_window_that_differs(sizes, scale, name, shown):
    report = windows(nn.Linear(3, 2), sizes, scale=lambda window, size: scale)
    (found,) = report.findings
    assert found.name == name
    rows = found.evidence["picture"]["rows"]
    assert [row["share"] for row in rows] == pytest.approx(shown)
    assert sum(row["wanted"] for row in rows) == pytest.approx(2 * scale)


def test_gradients_that_are_not_zeroed_are_not_said_to_be_right_or_left_over():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(numbers=False) as seen:
        for _ in range(5):
            F.mse_loss(model(torch.ones(2, 3)), torch.ones(2, 2)).backward()
            optimizer.step()
    report = seen.report()
    assert report.names == ("gradients-not-zeroed",)
    assert not report.right


@pytest.mark.parametrize(
    "sizes",
    [
        [(4,) * 5, (4,) * 3, (4,) * 7, (4,) * 5],  # episodes of any length
        [(4, 4), (4,)],
    ],
)
def test_a_coefficient_in_windows_of_any_size_is_not_accused(sizes):
    assert windows(nn.Linear(3, 2), sizes, scale=lambda window, size: 0.3).ok


def test_a_term_that_some_micro_batches_have_is_not_held_to_the_window():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(numbers=False) as seen:
        for step in range(6):
            for part in range(2):
                output = model(torch.ones(4, 3))
                loss = F.mse_loss(output, torch.zeros(4, 2))
                if part == 0 or step % 3:
                    loss = loss + F.l1_loss(output, torch.ones(4, 2))
                (loss / 2).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert seen.report().ok


def test_a_call_is_one_occasion_however_warm_the_program_is():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with watch(numbers=False) as seen:
        for _ in range(12):
            sum(F.mse_loss(weight, target) for target in torch.ones(2, 3)).backward()
            optimizer.step()
            optimizer.zero_grad()
    terms = {part.term for step in seen.watcher.steps for part in step.contributions}
    assert len(terms) == 1


def test_a_right_mean_over_windows_of_several_sizes_claims_no_single_size():
    report = windows(nn.Linear(3, 2), [(4,), (4,), (1,)], scale=lambda window, size: 1.0)
    (said,) = report.right
    assert "each of 2 to 8 counts alike" in said

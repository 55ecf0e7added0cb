"""What a step leaves behind, and which samples enter: mistakes that gradients alone do not show."""

import copy

import pytest
import torch
from torch import nn

import check_cases as cases
from batchproof import ProbeError
from batchproof.check import check_evaluate, check_step
from batchproof.check._measure._state import state_of


class Averaged(cases.MLP):
    """Holds an average of its weights, which have moved away from it."""

    def __init__(self):
        super().__init__()
        self.average = copy.deepcopy(self.head).requires_grad_(False)
        with torch.no_grad():
            self.average.weight.add_(0.5)


def averaging(model, optimizer, batches, every):
    """The gradient is right; the average moves once a step, or with every micro-batch."""
    step = cases.exact(cases.of_classes)
    for _ in range(len(batches) - 1 if every else 0):
        move(model)
    value = step(model, optimizer, batches)
    move(model)
    return value


def move(model):
    with torch.no_grad():
        model.average.weight.lerp_(model.head.weight, 0.1)


def build():
    model = Averaged()
    return model, torch.optim.SGD([*model.body.parameters(), *model.head.parameters()], lr=0.1)


@pytest.mark.parametrize("every", [False, True])
def test_an_average_that_moves_with_every_micro_batch_is_named(every):
    report = check_step(lambda *step: averaging(*step, every=every), cases.vectors(), build=build)
    assert report.names == (("state-moved-per-micro-batch",) if every else ()), str(report)
    if every:
        assert report.verdict.startswith("The step has the same gradient under every cut, but")
        assert "average.weight" in report.diagnoses[0].sentence
        assert not any(cut.dependent for cut in report.cuts)


def test_a_schedule_that_moves_with_every_micro_batch_is_named():
    def run(model, optimizer, batches):
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        cases.exact(cases.of_classes)(model, optimizer, batches)
        for _ in batches:
            schedule.step()

    report = check_step(run, cases.vectors(), build=cases.Build(cases.MLP))
    assert report.names == ("state-moved-per-micro-batch",), str(report)
    assert "lr of group 0" in report.diagnoses[0].sentence


def test_statistics_of_batch_norm_are_not_said_to_move():
    class Unused(cases.MLP):
        """Normalises something that reaches no loss."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4, momentum=0.5)

        def forward(self, x):
            if len(x) > 1:
                self.norm(x)
            return super().forward(x)

    report = check_step(cases.exact(cases.of_classes), cases.vectors(), build=cases.Build(Unused))
    assert "state-moved-per-micro-batch" not in report.names, str(report)


def test_an_average_of_the_samples_is_said_to_move_where_it_is_watched_alone():
    class Remembering(cases.MLP):
        """Keeps an average of its inputs, as a codebook does."""

        def __init__(self):
            super().__init__()
            self.register_buffer("code", torch.ones(4))

        def forward(self, x):
            self.code = 0.9 * self.code + 0.1 * x.detach().mean(0)  # type: ignore[has-type]
            return super().forward(x)

    report = check_step(
        cases.exact(cases.of_classes), cases.vectors(), build=cases.Build(Remembering)
    )
    assert report.ok, str(report)
    assert any(note.startswith("what a step leaves in code depends on") for note in report.notes)
    report = check_step(
        cases.exact(cases.of_classes),
        cases.vectors(),
        build=cases.Build(Remembering),
        watch=lambda model: {"code": model.code},
    )
    assert report.names == ("state-moved-per-micro-batch",), str(report)
    assert "on how many there are, and on what each of them holds" in report.diagnoses[0].sentence
    assert not any("watched code" in note for note in report.notes)


def test_state_beside_the_model_is_watched_where_it_is_handed_in():
    average = {}

    def build_both():
        model = cases.MLP()
        average["head"] = model.head.weight.detach() + 0.5
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    def run(model, optimizer, batches):
        for _ in batches:
            average["head"] = average["head"].lerp(model.head.weight.detach(), 0.1)
        return cases.exact(cases.of_classes)(model, optimizer, batches)

    assert check_step(run, cases.vectors(), build=build_both).ok
    report = check_step(run, cases.vectors(), build=build_both, watch=lambda model: average)
    assert report.names == ("state-moved-per-micro-batch",), str(report)
    assert "watched head" in report.diagnoses[0].sentence


@pytest.mark.parametrize(
    ("watch", "match"),
    [
        (nn.Linear(1, 1), "watch is Linear; expected a function of the model"),
        (lambda model: 3, "watch returned int; expected a module, or tensors"),
    ],
)
def test_a_watch_that_shows_no_state_is_refused(watch, match):
    with pytest.raises(ProbeError, match=match):
        check_step(
            cases.exact(cases.of_classes),
            cases.vectors(),
            build=cases.Build(cases.MLP),
            watch=watch,
        )


@torch.no_grad()
def full_batches_only(model, batches, means=False):
    size = max(len(y) for _, y in batches)
    pairs = [cases.of_classes(model, batch) for batch in batches if len(batch[1]) == size]
    if means:
        return sum((total / weight).item() for total, weight in pairs) / len(pairs)
    return sum(total.item() for total, _ in pairs) / sum(weight for _, weight in pairs)


def test_samples_of_a_short_last_batch_that_are_left_out_are_named():
    report = check_evaluate(full_batches_only, cases.vectors(8), build=cases.Build(cases.MLP))
    assert report.names == ("samples-left-out",), str(report)
    assert report.diagnoses[0].residual < 1e-9
    assert "drop_last=False" in report.diagnoses[0].code


@pytest.mark.parametrize(
    ("scale", "names"), [("mean", "divided-twice"), ("exact", "divided-twice")]
)
def test_a_gradient_that_is_divided_by_the_window_twice_is_named(scale, names):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        k, n = len(batches), sum(len(y) for _, y in batches)
        for batch in batches:
            total, weight = cases.of_classes(model, batch)
            part = total / weight / k if scale == "mean" else total / n
            (part / k).backward()
        optimizer.step()

    report = check_step(run, cases.vectors(), build=cases.Build(cases.MLP))
    assert report.names == ("divided-twice",), str(report)
    halves = next(cut for cut in report.cuts if cut.name == "halves")
    assert halves.scale == pytest.approx(0.5, rel=0.02)


def test_parameters_that_stay_frozen_cost_nothing_and_are_not_compared():
    class Frozen(cases.MLP):
        def __init__(self):
            super().__init__()
            self.large = nn.Linear(8, 8).requires_grad_(False)

    runs = []

    def run(model, optimizer, batches):
        runs.append(model)
        return cases.exact(cases.of_classes)(model, optimizer, batches)

    assert check_step(run, cases.vectors(), build=cases.Build(Frozen)).ok
    model = runs[-1]
    start = {id(p): p.detach().clone() for p in model.parameters()}
    moved = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(state_of(model, None, moved, start, None)) == set()

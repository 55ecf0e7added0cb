"""Optimisers that evaluate the objective several times a step, against torch's by hand."""

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.optim import LBFGS, Optimizer

import batchproof as bp
import step_models as models
from strategies import cuts

WINDOWS = 4


def lbfgs(model, **options):
    return LBFGS(model.parameters(), lr=0.3, max_iter=4, **options)


def by_hand(model, optimizer, objective):
    """Train on whole windows in plain torch; return each one's first loss."""
    losses = []
    for seed in range(WINDOWS):
        whole = models.samples_of(seed)

        def closure(whole=whole):
            optimizer.zero_grad()
            value = objective(model, whole)
            value.backward()
            return value

        losses.append(optimizer.step(closure).item())
    return losses


def assert_close(model, other):
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        # differences of gradients are divided by: rounding grows from step to step
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
@settings(max_examples=6)
@given(cuts(models.SAMPLES))
def test_any_cut_gives_the_steps_of_the_whole_window(line_search, parts):
    plain, cut = models.model_of(), models.model_of()
    expected = by_hand(plain, lbfgs(plain, line_search_fn=line_search), models.mean_of_squares)
    step = bp.Step(cut, lbfgs(cut, line_search_fn=line_search))
    results = [
        step(models.cut(models.samples_of(seed), parts), models.squares) for seed in range(WINDOWS)
    ]
    assert [r.loss.item() for r in results] == pytest.approx(expected, rel=1e-10)
    assert_close(plain, cut)
    assert step.steps == WINDOWS


@pytest.mark.parametrize("count", [models.counted, "forward"])
def test_several_terms_keep_their_own_weights(count):
    plain, cut = models.model_of(), models.model_of()
    expected = by_hand(plain, lbfgs(plain), models.mean_of_two)
    step = bp.Step(cut, lbfgs(cut), coefficients={"sides": 0.3}, count=count)
    parts = [[0], [1, 2], [3, 4, 5]]
    losses = [
        step(models.cut(models.samples_of(seed), parts), models.two_terms).loss.item()
        for seed in range(WINDOWS)
    ]
    assert losses == pytest.approx(expected, rel=1e-10)
    assert_close(plain, cut)


def test_every_evaluation_is_clipped():
    model = models.model_of()
    seen = []

    class Watching(LBFGS):
        def step(self, closure):
            def watched():
                value = closure()
                grads = [p.grad.flatten() for p in model.parameters()]
                seen.append(torch.cat(grads).norm().item())
                return value

            return super().step(watched)

    step = bp.Step(model, Watching(model.parameters(), max_iter=4), max_grad_norm=0.01)
    result = step(models.cut(models.samples_of(0), [[0, 1], [2, 3, 4, 5]]), models.squares)
    assert len(seen) > 1
    assert seen == pytest.approx([0.01] * len(seen), rel=1e-4)
    assert result.grad_norm.item() > 0.1


def not_finite_from(evaluation):
    calls = []

    def loss(model, batch):
        calls.append(batch)
        mean = models.squares(model, batch)
        return bp.Mean(mean.total * float("nan"), mean.weight) if len(calls) >= evaluation else mean

    return loss


@pytest.mark.parametrize("evaluation", [1, 3])
def test_a_step_with_an_evaluation_that_is_not_finite_is_not_taken(evaluation):
    model = models.model_of()
    optimizer = lbfgs(model)
    step = bp.Step(model, optimizer, nonfinite="skip")
    batch = models.samples_of(0)
    step([batch], models.squares)
    parameters = copy.deepcopy(list(model.parameters()))
    state = copy.deepcopy(optimizer.state_dict())
    assert step([batch], not_finite_from(evaluation)).skipped
    assert step.skipped == 1
    models_apart = zip(parameters, model.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in models_apart)
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)


def test_an_evaluation_that_is_not_finite_is_named():
    model = models.model_of()
    step = bp.Step(model, lbfgs(model))
    with pytest.raises(bp.NonFiniteError, match="step 1: the total of term 'loss' is nan in micro"):
        step([models.samples_of(0)], not_finite_from(2))


def test_an_error_in_a_later_evaluation_puts_the_parameters_back():
    model, calls = models.model_of(), []
    kept = copy.deepcopy(model)

    def failing(model, batch):
        calls.append(batch)
        if len(calls) == 3:
            msg = "out of data"
            raise KeyError(msg)
        return models.squares(model, batch)

    step = bp.Step(model, lbfgs(model))
    with pytest.raises(KeyError, match="out of data"):
        step([models.samples_of(0)], failing)
    models.assert_same(model, kept)


def test_a_window_without_weight_is_no_step():
    model = models.model_of()
    kept = copy.deepcopy(model)
    assert bp.Step(model, lbfgs(model))([], models.squares).skipped
    models.assert_same(model, kept)


class Sharp(Optimizer):
    """Steps along the gradient at a point uphill, as sharpness-aware minimisation does."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure):
        (group,) = self.param_groups
        uphill = [0.05 * p.grad for p in group["params"]]
        for p, by in zip(group["params"], uphill, strict=True):
            p.add_(by)
        value = torch.enable_grad()(closure)()
        for p, by in zip(group["params"], uphill, strict=True):
            p.sub_(by).sub_(0.1 * p.grad)
        return value


def test_an_optimiser_that_moves_first_gets_the_gradient_where_it_went():
    plain, cut = models.model_of(), models.model_of()
    whole, sharp = models.samples_of(0), Sharp(plain.parameters())

    def closure():
        plain.zero_grad()
        value = models.mean_of_squares(plain, whole)
        value.backward()
        return value

    closure()
    sharp.step(closure)
    step = bp.Step(cut, Sharp(cut.parameters()))
    step(models.cut(whole, [[0, 3], [1, 2, 4], [5]]), models.squares)
    models.assert_same(plain, cut)


def test_windows_by_hand_are_refused():
    model = models.model_of()
    step = bp.Step(model, lbfgs(model))
    step.backward(models.squares(model, models.samples_of(0)))
    with pytest.raises(bp.SettingError, match="LBFGS evaluates a window several times"):
        step.apply()


def test_a_scaler_is_refused():
    model = nn.Linear(2, 1)
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(bp.SettingError, match="LBFGS takes its loss from a closure"):
        bp.Step(model, LBFGS(model.parameters()), scaler=scaler)

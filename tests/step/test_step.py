"""One optimiser step is the gradient of one mean, over any cut: laws against plain torch."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import batchproof as bp
import step_models as models
from strategies import cuts

SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.1),
    "sgd, fused": partial(SGD, lr=0.1, fused=True),
    "momentum": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov, fused": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adam": partial(ADAM, lr=0.01),
    "adam, fused": partial(ADAM, lr=0.01, fused=True),
    "adamw": partial(ADAMW, lr=0.01, amsgrad=True),
    "adamw, fused": partial(ADAMW, lr=0.01, fused=True),
    "adagrad": partial(torch.optim.Adagrad, lr=0.05),
    "adagrad, fused": partial(torch.optim.Adagrad, lr=0.05, fused=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01),
    "adadelta": partial(torch.optim.Adadelta),
    "adamax": partial(torch.optim.Adamax, lr=0.01),
    "nadam": partial(torch.optim.NAdam, lr=0.01),
    "radam": partial(torch.optim.RAdam, lr=0.01),
    "asgd": partial(torch.optim.ASGD, lr=0.01),
    "rprop": partial(torch.optim.Rprop, lr=0.01),
    "adafactor": partial(torch.optim.Adafactor, lr=0.05),
}
any_cut = cuts(models.SAMPLES)


def assert_step_is_the_whole(optimizer, parts, *, two=False, clip=None, count=None, dtype=None):
    """Three windows by us, each cut; the same by hand, each whole."""
    dtype = dtype or torch.float64
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    ours, theirs = models.model_of(dtype), models.model_of(dtype)
    wholes = [models.samples_of(seed, dtype) for seed in range(len(parts))]
    step = bp.Step(
        ours,
        optimizer(ours.parameters()),
        max_grad_norm=clip,
        coefficients={"sides": 0.3} if two else None,
        count=count,
    )
    objective = models.mean_of_two if two else models.mean_of_squares
    expected = models.by_hand(
        theirs, optimizer(theirs.parameters()), objective, wholes, max_grad_norm=clip
    )
    for whole, window, (value, norm) in zip(wholes, parts, expected, strict=True):
        result = step(models.cut(whole, window), models.two_terms if two else models.squares)
        assert result.loss.item() == pytest.approx(value, rel=tolerance)
        assert result.grad_norm.item() == pytest.approx(norm, rel=tolerance)
        assert not result.skipped
    models.assert_same(ours, theirs, tolerance)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimiser_takes_the_step_of_the_whole(optimizer):
    parts = [[[0, 1], [2], [3, 4, 5]], [[0, 1, 2, 3, 4, 5]], [[1], [0, 2, 3, 4, 5]]]
    assert_step_is_the_whole(optimizer, parts)


@pytest.mark.parametrize("optimizer", [OPTIMIZERS["adamw"], OPTIMIZERS["adamw, fused"]])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_float32_takes_the_step_of_the_whole(optimizer, clip):
    parts = [[[0, 1], [2], [3, 4, 5]], [[0, 1, 2, 3, 4, 5]]]
    assert_step_is_the_whole(optimizer, parts, clip=clip, dtype=torch.float32)


@settings(max_examples=25)
@given(parts=st.lists(any_cut, min_size=1, max_size=3), clip=st.sampled_from([None, 0.02, 10.0]))
def test_one_term_over_any_cut_is_the_whole(parts, clip):
    assert_step_is_the_whole(OPTIMIZERS["momentum"], parts, clip=clip)


@settings(max_examples=25)
@given(
    parts=st.lists(any_cut, min_size=1, max_size=2),
    clip=st.sampled_from([None, 0.02]),
    count=st.sampled_from([models.counted, "forward"]),
)
def test_two_terms_over_any_cut_are_the_whole(parts, clip, count):
    assert_step_is_the_whole(OPTIMIZERS["adam, fused"], parts, two=True, clip=clip, count=count)


@settings(max_examples=20)
@given(parts=any_cut)
def test_an_updater_gets_sums_and_their_weight(parts):
    model, whole = models.model_of(), models.samples_of(1)
    handed = []

    def updater(weight):
        handed.append(weight)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.1 * parameter.grad / weight)

    theirs = models.model_of()
    bp.Step(model, updater)(models.cut(whole, parts), models.squares)
    models.by_hand(theirs, SGD(theirs.parameters(), 0.1), models.mean_of_squares, [whole])
    models.assert_same(model, theirs)
    assert handed == [whole["mask"].sum()]


@settings(max_examples=20)
@given(parts=any_cut)
def test_the_lower_level_takes_the_same_step(parts):
    ours, theirs, whole = models.model_of(), models.model_of(), models.samples_of(2)
    step = bp.Step(ours, SGD(ours.parameters(), 0.1), max_grad_norm=0.5)
    for batch in models.cut(whole, parts):
        step.backward(models.squares(ours, batch))
    result = step.apply()
    ((value, _),) = models.by_hand(
        theirs, SGD(theirs.parameters(), 0.1), models.mean_of_squares, [whole], max_grad_norm=0.5
    )
    assert result.loss.item() == pytest.approx(value, rel=1e-12)
    models.assert_same(ours, theirs)


def test_a_window_without_micro_batches_takes_no_step():
    model = models.model_of()
    kept = [p.detach().clone() for p in model.parameters()]
    step = bp.Step(model, SGD(model.parameters(), 0.1, momentum=0.9))
    step(models.cut(models.samples_of(0), [range(6)]), models.squares)
    kept = [p.detach().clone() for p in model.parameters()]
    result = step([], models.squares)
    assert result.skipped
    assert step.skipped == 1
    assert step.steps == 2
    for before, after in zip(kept, model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_window_with_no_weight_takes_no_step():
    model = models.model_of()
    kept = [p.detach().clone() for p in model.parameters()]
    # momentum and weight decay would move parameters without a gradient
    optimizer = ADAMW(model.parameters(), lr=0.1, weight_decay=0.1)
    batch = models.samples_of(0) | {"mask": torch.zeros(models.SAMPLES, 2, dtype=torch.bool)}
    result = bp.Step(model, optimizer)([batch, batch], models.squares)
    assert result.skipped
    assert result.loss.weight == 0
    for before, after in zip(kept, model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_micro_batch_without_a_graph_counts_nothing():
    ours, theirs, whole = models.model_of(), models.model_of(), models.samples_of(3)

    def loss(model, batch):
        return models.squares(model, batch) if batch["x"].shape[0] else bp.Mean.zero()

    parts = [[], [0, 1], [], [2, 3, 4, 5], []]
    bp.Step(ours, SGD(ours.parameters(), 0.1))(models.cut(whole, parts), loss)
    bp.Step(theirs, SGD(theirs.parameters(), 0.1))([whole], models.squares)
    models.assert_same(ours, theirs)


def test_metrics_are_pooled_and_take_no_gradient():
    model, whole = models.model_of(), models.samples_of(4)

    def loss(model, batch):
        mean = models.squares(model, batch)
        return bp.Outcome(mean, {"same": bp.reduce((model(batch["x"]) - batch["y"]) ** 2)})

    plain = models.model_of()
    result = bp.Step(model, SGD(model.parameters(), 0.1))(
        models.cut(whole, [[0], [1, 2], [3, 4, 5]]), loss
    )
    bp.Step(plain, SGD(plain.parameters(), 0.1))([whole], models.squares)
    expected = ((models.model_of()(whole["x"]) - whole["y"]) ** 2).mean().item()
    assert result.metrics["same"].item() == pytest.approx(expected, rel=1e-12)
    assert not result.metrics["same"].total.requires_grad
    models.assert_same(model, plain)


def test_sparse_gradients_are_divided_and_clipped_alike():
    def table(sparse):
        torch.manual_seed(0)
        return nn.Embedding(7, 3, sparse=sparse, dtype=torch.float64)

    def loss(model, indices):
        return bp.reduce(model(indices) ** 2)

    window = [torch.tensor([1, 1, 2]), torch.tensor([2]), torch.tensor([5, 1])]
    models_ = [table(True), table(False)]
    norms = []
    for model in models_:
        step = bp.Step(model, SGD(model.parameters(), lr=0.5), max_grad_norm=0.1)
        norms.append(step(window, loss).grad_norm.item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)
    torch.testing.assert_close(models_[0].weight, models_[1].weight, rtol=1e-12, atol=1e-12)


def test_float16_totals_come_to_the_mean_under_a_scaler():
    whole = models.samples_of(6, torch.float32)
    ours, theirs = models.model_of(torch.float32), models.model_of(torch.float32)
    step = bp.Step(
        ours,
        SGD(ours.parameters(), 0.1),
        max_grad_norm=0.05,
        scaler=torch.amp.GradScaler("cpu", init_scale=1024.0),
    )
    for _ in range(2):
        result = step(models.cut(whole, [[0, 1], [2], [3, 4, 5]]), models.squares)
    expected = models.by_hand(
        theirs,
        SGD(theirs.parameters(), 0.1),
        models.mean_of_squares,
        [whole] * 2,
        max_grad_norm=0.05,
    )
    assert result.grad_norm.item() == pytest.approx(expected[-1][1], rel=2e-6)
    models.assert_same(ours, theirs, 2e-6)


def test_an_empty_window_under_a_scaler_takes_no_step():
    model = models.model_of(torch.float32)
    step = bp.Step(model, SGD(model.parameters(), 0.1), scaler=torch.amp.GradScaler("cpu"))
    assert step([], models.squares).skipped
    assert not step([models.samples_of(0, torch.float32)], models.squares).skipped


def test_an_overflow_under_a_scaler_is_skipped_and_no_error():
    model = models.model_of(torch.float32)
    kept = [p.detach().clone() for p in model.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    step = bp.Step(model, SGD(model.parameters(), 0.1), scaler=scaler)
    batch = models.samples_of(0, torch.float32)
    result = step([batch | {"y": batch["y"] * 1e4}], models.squares)
    assert result.skipped
    assert scaler.get_scale() < 2.0**127
    for before, after in zip(kept, model.parameters(), strict=True):
        assert torch.equal(before, after)


class OfTwoKinds(nn.Module):
    """A layer of one dtype, then one of another, as a head in float64 or a spectral layer is."""

    def __init__(self, first, second):
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Linear(3, 4, dtype=first)
        self.second = nn.Linear(4, 2, dtype=second)

    def forward(self, x):
        hidden = self.first(x.to(self.first.weight.dtype))
        out = self.second(hidden.to(self.second.weight.dtype))
        return out.abs() if out.is_complex() else out


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(
    ("first", "second", "fused"),
    [
        (torch.float32, torch.float64, False),
        (torch.float32, torch.float64, True),
        (torch.float64, torch.complex128, False),
        (torch.complex64, torch.complex64, False),
    ],
)
def test_parameters_of_several_dtypes_and_complex_ones_are_stepped(first, second, fused, clip):
    ours, theirs = OfTwoKinds(first, second), OfTwoKinds(first, second)
    whole = models.samples_of(3)
    step = bp.Step(ours, ADAM(ours.parameters(), lr=0.01, fused=fused), max_grad_norm=clip)
    result = step(models.cut(whole, [[0, 1], [2], [3, 4, 5]]), models.squares)
    models.mean_of_squares(theirs, whole).backward()
    grads = [torch.view_as_real(p.grad) if p.is_complex() else p.grad for p in theirs.parameters()]
    norm = sum(grad.double().square().sum() for grad in grads).sqrt()  # type: ignore[attr-defined]
    for parameter in theirs.parameters():
        parameter.grad *= 1 if clip is None else clip / norm
    ADAM(theirs.parameters(), lr=0.01).step()
    assert result.grad_norm.item() == pytest.approx(norm.item(), rel=2e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-5, atol=1e-7)


class Plain(torch.optim.Optimizer):
    """An optimiser as one writes it when learning: its step() takes nothing."""

    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad, alpha=0.1)


class Lenient(Plain):
    def step(self, *_args, **_settings):
        super().step()


@pytest.mark.parametrize("optimizer", [Plain, Lenient])
def test_an_optimiser_whose_step_knows_no_closure_is_one_too(optimizer):
    assert_step_is_the_whole(optimizer, [[[0, 1], [2, 3, 4, 5]]])


def test_counters_survive_a_checkpoint():
    model = models.model_of()
    step = bp.Step(model, SGD(model.parameters(), 0.1))
    step([models.samples_of(0)], models.squares)
    step([], models.squares)
    other = bp.Step(model, SGD(model.parameters(), 0.1))
    other.load_state_dict(step.state_dict())
    assert (other.steps, other.skipped) == (2, 1)


def test_an_updater_without_a_module_is_refused():
    with pytest.raises(bp.SettingError, match=r"expected a torch\.nn\.Module, whose parameters"):
        bp.Step(lambda x: x, lambda weight: None)


def test_a_max_grad_norm_that_is_not_positive_is_refused():
    model = models.model_of()
    with pytest.raises(bp.SettingError, match="max_grad_norm is 0"):
        bp.Step(model, SGD(model.parameters(), 0.1), max_grad_norm=0.0)


@pytest.mark.parametrize(
    "coefficient",
    [1j, torch.tensor(1j), "1", None, float("nan"), float("inf"), nn.Parameter(torch.ones(()))],
)
def test_a_coefficient_that_is_not_a_finite_real_number_is_refused(coefficient, unchecked):
    model, given = nn.Linear(1, 1), {"loss": coefficient}
    optimizer, loss = SGD(model.parameters(), 0.1), lambda m, x: bp.reduce(m(x))
    for make in (
        lambda: bp.Step(model, optimizer, coefficients=given),
        lambda: bp.Trainer(model, loss, optimizer, coefficients=given),
        lambda: bp.evaluate(model, [torch.ones(1, 1)], loss, coefficients=given),
    ):
        with pytest.raises(bp.SettingError, match=r"coefficients\['loss'\] is .*; expected a fini"):
            make()


def test_a_coefficient_of_no_term_is_refused():
    model = models.model_of()
    step = bp.Step(model, SGD(model.parameters(), 0.1), coefficients={"other": 2.0})
    with pytest.raises(bp.SettingError, match=r"coefficients name \['other'\]"):
        step([models.samples_of(0)], models.squares)


def test_apply_without_a_window_is_refused():
    model = models.model_of()
    with pytest.raises(bp.SettingError, match="no window to close"):
        bp.Step(model, SGD(model.parameters(), 0.1)).apply()


def test_a_data_parallel_model_is_refused():
    model = nn.DataParallel(models.model_of())
    with pytest.raises(bp.SettingError, match="DataParallel sums or scales gradients in a way"):
        bp.Step(model, SGD(model.parameters(), 0.1))


def test_an_error_in_the_loss_leaves_no_window_open():
    model, batch = models.model_of(), models.samples_of(0)
    step = bp.Step(model, SGD(model.parameters(), 0.1))

    def failing(model, batch):
        if batch is None:
            raise KeyError("no batch")
        return models.squares(model, batch)

    with pytest.raises(KeyError):
        step([batch, None], failing)
    other = models.model_of()
    step([batch], models.squares)
    bp.Step(other, SGD(other.parameters(), 0.1))([batch], models.squares)
    models.assert_same(model, other)


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1), torch.optim.LBFGS])
def test_a_window_whose_gradient_reaches_no_parameter_is_refused(optimizer):
    model, batch = models.model_of(), models.samples_of(0)
    step = bp.Step(model, optimizer(model.parameters()))
    with pytest.raises(bp.SettingError, match="step 1: term 'loss' has weight 7 but no gradient"):
        step([batch], lambda model, batch: models.squares(model, batch).detach())
    other = models.model_of()
    with pytest.raises(bp.SettingError, match="the parameters of this model"):
        bp.Step(other, optimizer(model.parameters()))([batch], models.squares)
    assert not step([batch], lambda model, batch: bp.Mean.zero()).loss.total


def test_a_parameter_given_twice_is_refused():
    shared = models.model_of()
    with pytest.warns(UserWarning, match="duplicate"):
        optimizer = SGD([*shared.parameters(), *shared.parameters()], 0.1)
    with pytest.raises(bp.SettingError, match="group 0 of the optimizer has a parameter twice"):
        bp.Step(shared, optimizer)


class OutOfMemory(torch.autograd.Function):
    """Fails on the way back, once other gradients are there."""

    @staticmethod
    def forward(ctx, values):
        del ctx
        return values.clone()

    @staticmethod
    def backward(ctx, incoming):
        raise MemoryError


def test_an_error_in_backward_leaves_no_window_open():
    model, batch = models.model_of(), models.samples_of(0)
    step = bp.Step(model, SGD(model.parameters(), 0.1))
    step.backward(models.squares(model, batch))
    mean = models.squares(model, models.samples_of(1))
    with pytest.raises(MemoryError):
        step.backward(bp.Mean(OutOfMemory.apply(mean.total), mean.weight))
    with pytest.raises(ValueError, match="no window to close"):
        step.apply()
    other = models.model_of()
    step.backward(models.squares(model, batch))
    step.apply()
    bp.Step(other, SGD(other.parameters(), 0.1))([batch], models.squares)
    models.assert_same(model, other)


@pytest.mark.parametrize("batch", [torch.ones(2, 3), {"x": torch.ones(2, 3)}])
def test_a_batch_in_place_of_a_window_is_refused(batch):
    model = models.model_of()
    step = bp.Step(model, SGD(model.parameters(), 0.1))
    kind = type(batch).__name__
    with pytest.raises(ValueError, match=rf"the window is a {kind}; .* step\(\[batch\], loss\)"):
        step(batch, models.squares)


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        (torch.nn.MSELoss(), "loss is the criterion MSELoss, but is called as loss"),
        (torch.nn.functional.mse_loss, "loss is the criterion mse_loss, but is called as loss"),
        (
            bp.exact(torch.nn.MSELoss()),
            r"loss is the criterion exact\(MSELoss\(\), .*is called as loss",
        ),
        (partial(torch.nn.functional.mse_loss), "loss is the criterion mse_loss, but"),
        ("mse", "loss is 'mse'; expected a function loss"),
    ],
)
def test_a_criterion_in_place_of_a_loss_is_refused(loss, shown, unchecked):
    model = torch.nn.Linear(1, 1)
    step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(bp.SettingError, match=rf"{shown}.*batchproof.supervised\("):
        step([(torch.ones(2, 1), torch.ones(2, 1))], loss)


def test_a_step_result_or_an_outcome_in_a_meter_names_what_is_meant(unchecked):
    mean = bp.reduce(torch.ones(2))
    model = torch.nn.Linear(1, 1)
    step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1))

    def loss(model, x):
        return bp.reduce(model(x)[:, 0])

    result = step([torch.ones(2, 1)], loss)
    for added, match in (
        (result, r"given a StepResult; .*add\(result.loss\)"),
        (bp.Outcome(mean), r"given an Outcome; .*add\(outcome.terms\)"),
        (
            bp.evaluate(model, [torch.ones(2, 1)], loss),
            r"given an Estimate; .*merge the meters: meter.merge\(other\)",
        ),
        ({"a": mean}, r"given a dict; .*add\(terms\[\"name\"\]\)"),
    ):
        with pytest.raises(bp.SettingError, match=match):
            bp.Meter().add(added)

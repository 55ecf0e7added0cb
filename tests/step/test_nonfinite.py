"""A loss or gradient that is not finite never reaches the parameters, and is named."""

import math

import pytest
import torch
from torch import nn

import batchproof as bp
import step_models as models

BAD = [float("nan"), float("inf"), -float("inf")]


def poisoned(value: float, *, sample: int = 4) -> dict:
    batch = models.samples_of(0)
    batch["y"][sample] = value
    batch["mask"][sample] = True
    return batch


def frozen(model):
    return [p.detach().clone() for p in model.parameters()]


def assert_untouched(model, kept):
    for before, after in zip(kept, model.parameters(), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_it_is_raised_with_step_micro_batch_and_term(value, fused, clip):
    model = models.model_of()
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
    step = bp.Step(model, optimizer, max_grad_norm=clip)
    step([models.samples_of(1)], models.squares)
    kept = frozen(model)
    with pytest.raises(
        bp.NonFiniteError, match=r"^step 2: the total of term 'loss' is .* in micro-batch 2 of 3; "
    ):
        step(models.cut(poisoned(value), [[0, 1], [2, 3, 4], [5]]), models.squares)
    assert_untouched(model, kept)


@pytest.mark.parametrize("fused", [False, True])
def test_skipping_counts_it_and_continues(fused):
    model = models.model_of()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, fused=fused)
    step = bp.Step(model, optimizer, nonfinite="skip")
    kept = frozen(model)
    result = step([poisoned(math.nan)], models.squares)
    assert result.skipped
    assert result.loss.weight == 0
    assert_untouched(model, kept)
    with pytest.raises(bp.NonFiniteError):
        result.check()
    other = models.model_of()
    step([models.samples_of(1)], models.squares)
    models.by_hand(
        other,
        torch.optim.SGD(other.parameters(), 0.1),
        models.mean_of_squares,
        [models.samples_of(1)],
    )
    models.assert_same(model, other)
    assert (step.steps, step.skipped) == (2, 1)


def test_a_gradient_that_is_not_finite_names_the_parameter():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).double()
    kept = frozen(model)

    def loss(model, batch):
        # the root of 0 is finite, and its derivative is not
        return bp.reduce((model(batch) * 0).abs().sqrt()[:, 0])

    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(bp.NonFiniteError, match=r"the gradient of '0\.weight' is not finite"):
        step([torch.ones(2, 3).double()], loss)
    assert_untouched(model, kept)


def test_nan_under_the_mask_changes_nothing():
    clean, dirty = models.model_of(), models.model_of()
    batch = models.samples_of(0)
    masked = batch | {"y": torch.where(batch["mask"], batch["y"], math.nan)}
    mse = bp.exact(nn.MSELoss())

    def loss(model, batch):
        return mse(model(batch["x"]), batch["y"], mask=batch["mask"])

    for model, given in ((clean, batch), (dirty, masked)):
        bp.Step(model, torch.optim.SGD(model.parameters(), 0.1))([given], loss)
    models.assert_same(clean, dirty)


def test_an_unknown_way_with_it_is_refused(unchecked):
    model = models.model_of()
    with pytest.raises(bp.SettingError, match="nonfinite is 'ignore'; expected 'raise' or 'skip'"):
        bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), nonfinite="ignore")

"""Several terms over several micro-batches: weights before the backward pass, and no trace."""

import pytest
import torch
from torch import nn

import batchproof as bp
import step_models as models

SGD = torch.optim.SGD
PARTS = [[0, 1], [2, 3, 4], [5]]


def step_of(model, **settings):
    return bp.Step(model, SGD(model.parameters(), 0.1), **settings)


def test_several_terms_over_several_micro_batches_need_a_count():
    step = step_of(models.model_of())
    with pytest.raises(bp.MissingCountError, match=r"has 2 terms \(squares, sides\).*count="):
        step(models.cut(models.samples_of(0), PARTS), models.two_terms)


def test_several_terms_in_one_micro_batch_need_none():
    ours, theirs, whole = models.model_of(), models.model_of(), models.samples_of(0)
    step_of(ours, coefficients={"sides": 0.3})([whole], models.two_terms)
    models.by_hand(theirs, SGD(theirs.parameters(), 0.1), models.mean_of_two, [whole])
    models.assert_same(ours, theirs)


def test_the_lower_level_refuses_several_terms():
    model = models.model_of()
    with pytest.raises(bp.MissingCountError):
        step_of(model).backward(models.two_terms(model, models.samples_of(0)))


def test_a_count_that_is_wrong_is_found():
    model = models.model_of()
    kept = [p.detach().clone() for p in model.parameters()]

    def wrong(batch):
        return {"squares": len(batch["x"]), "sides": batch["weight"].sum()}

    step = step_of(model, count=wrong)
    with pytest.raises(bp.SettingError, match="the weights that count gave are not those"):
        step(models.cut(models.samples_of(0), PARTS), models.two_terms)
    for before, after in zip(kept, model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_count_without_a_term_is_refused():
    step = step_of(models.model_of(), count=lambda batch: {"squares": 1.0})
    with pytest.raises(bp.SettingError, match="but the loss has the term 'sides'"):
        step(models.cut(models.samples_of(0), PARTS), models.two_terms)


def test_a_count_that_is_neither_callable_nor_forward_is_refused(unchecked):
    with pytest.raises(bp.SettingError, match="count is 'backward'"):
        step_of(models.model_of(), count="backward")


class Noisy(nn.Module):
    """Running statistics and random draws in the forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.last = nn.Linear(4, 2)
        self.double()

    def forward(self, x):
        return self.last(self.layers(x))


def test_counting_by_a_forward_pass_leaves_no_trace():
    parts = [[0, 1], [2, 3, 4, 5]]
    whole = models.samples_of(1)
    results = []
    for count in ("forward", models.counted):
        model = Noisy()
        step = step_of(model, count=count)
        torch.manual_seed(9)
        step(models.cut(whole, parts), models.two_terms)
        results.append((model.state_dict(), torch.get_rng_state()))
    (forward, drawn), (called, drawn_then) = results
    assert torch.equal(drawn, drawn_then)
    for name, value in forward.items():
        assert torch.equal(value, called[name]), name
    assert forward["layers.1.num_batches_tracked"] == 2


class Averaging(torch.nn.Linear):
    """Keeps a running mean as a codebook does: by putting another buffer in its place."""

    def __init__(self):
        super().__init__(3, 2, dtype=torch.float64)
        self.register_buffer("running", torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        out = super().forward(x)
        self.running = 0.9 * self.running + 0.1 * out.detach().sum(0)  # type: ignore[has-type]
        return out


def test_counting_leaves_no_trace_in_buffers_that_are_replaced_nor_after_an_error():
    batches = models.cut(models.samples_of(1), [[0, 1], [2, 3, 4, 5]])
    torch.manual_seed(0)
    counting, calling = Averaging(), Averaging()
    calling.load_state_dict(counting.state_dict())
    step_of(counting, count="forward")(batches, models.two_terms)
    step_of(calling, count=models.counted)(batches, models.two_terms)
    assert torch.equal(counting.running, calling.running)

    def failing(model, batch):
        model(batch["x"])
        raise KeyError

    with pytest.raises(KeyError):
        step_of(counting, count="forward")(batches, failing)
    assert torch.equal(counting.running, calling.running)

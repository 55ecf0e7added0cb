import pytest
import torch

import batchproof as bp
from batchproof.mean import Pairs


def a_mean(unit="element"):
    total = torch.tensor([1.0, 3.0], requires_grad=True)
    return bp.Mean(total, torch.ones(2), unit)


def test_a_lone_mean_is_the_term_named_loss():
    pairs = Pairs.of(a_mean())
    assert list(pairs.terms) == ["loss"]
    assert pairs.metrics == {}
    assert pairs.terms["loss"].item() == 2.0


def test_a_dict_of_means_keeps_names_and_order():
    pairs = Pairs.of({"policy": a_mean(), "value": a_mean("sample")})
    assert list(pairs.terms) == ["policy", "value"]
    assert pairs.terms["value"].unit == "sample"


def test_terms_are_pooled_and_keep_their_graph():
    term = Pairs.of({"loss": a_mean()}).terms["loss"]
    assert term.total.shape == ()
    assert term.total.requires_grad


def test_metrics_are_pooled_and_detached():
    metric = Pairs.of(bp.Outcome(a_mean(), {"error": a_mean()})).metrics["error"]
    assert metric.total.shape == ()
    assert not metric.total.requires_grad
    assert metric.item() == 2.0


@pytest.mark.parametrize("returned", [torch.tensor(1.0), None, {}, 0.5, [1]])
def test_what_is_no_mean_is_refused(returned, unchecked):
    kind = type(returned).__name__
    with pytest.raises(bp.SettingError, match=f"the loss returned {kind}; expected a Mean"):
        Pairs.of(returned)


@pytest.mark.parametrize("part", ["terms", "metrics"])
def test_a_part_that_is_no_mean_is_named(part, unchecked):
    parts = {"terms": a_mean(), "metrics": {}} | {part: {"value": torch.tensor(1.0)}}
    with pytest.raises(bp.SettingError, match="returned Tensor for 'value'; expected a Mean"):
        Pairs.of(bp.Outcome(**parts))

import pytest
import torch

import batchproof as bp


def a_mean(unit="element"):
    total = torch.tensor([1.0, 3.0], requires_grad=True)
    return bp.Mean(total, torch.ones(2), unit)


def test_a_lone_mean_is_the_term_named_loss():
    outcome = bp.Outcome.of(a_mean())
    assert list(outcome.terms) == ["loss"]
    assert outcome.metrics == {}
    assert outcome.terms["loss"].item() == 2.0


def test_a_dict_of_means_keeps_names_and_order():
    outcome = bp.Outcome.of({"policy": a_mean(), "value": a_mean("sample")})
    assert list(outcome.terms) == ["policy", "value"]
    assert outcome.terms["value"].unit == "sample"


def test_terms_are_pooled_and_keep_their_graph():
    term = bp.Outcome.of({"loss": a_mean()}).terms["loss"]
    assert term.total.shape == ()
    assert term.total.requires_grad


def test_metrics_are_pooled_and_detached():
    metric = bp.Outcome.of(bp.Outcome(a_mean(), {"error": a_mean()})).metrics["error"]
    assert metric.total.shape == ()
    assert not metric.total.requires_grad
    assert metric.item() == 2.0


def test_bringing_into_form_twice_is_once():
    once = bp.Outcome.of(bp.Outcome(a_mean(), {"error": a_mean()}))
    twice = bp.Outcome.of(once)
    assert twice.terms["loss"].item() == once.terms["loss"].item()
    assert twice.metrics["error"].item() == once.metrics["error"].item()


@pytest.mark.parametrize("returned", [torch.tensor(1.0), None, {}, 0.5, [1]])
def test_what_is_no_mean_is_refused(returned, unchecked):
    kind = type(returned).__name__
    with pytest.raises(bp.SettingError, match=f"the loss returned {kind}; expected a Mean"):
        bp.Outcome.of(returned)


@pytest.mark.parametrize("part", ["terms", "metrics"])
def test_a_part_that_is_no_mean_is_named(part, unchecked):
    parts = {"terms": a_mean(), "metrics": {}} | {part: {"value": torch.tensor(1.0)}}
    with pytest.raises(bp.SettingError, match="returned Tensor for 'value'; expected a Mean"):
        bp.Outcome.of(bp.Outcome(**parts))

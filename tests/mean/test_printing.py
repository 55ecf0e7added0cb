"""Numbers and functions print as people read them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchproof as bp
from batchproof.data import Batches, ShardSampler
from batchproof.meter import Perplexity
from batchproof.runs import RunFolder


def mean_of(*totals, **options):
    return bp.Mean(torch.tensor(totals), torch.ones(len(totals)), **options)


def test_a_mean_prints_its_value():
    mean = mean_of(0.1, 0.26566)
    assert str(mean) == f"{mean}" == "0.1828"
    assert f"{mean:.3f}" == "0.183"
    assert f"{mean:8.2f}|" == "    0.18|"
    assert float(mean) == mean.item()


def test_a_mean_of_nothing_prints_nan_and_is_no_float():
    empty = bp.Mean.zero()
    assert str(empty) == "nan"
    assert f"{empty:.3f}" == "nan"
    assert repr(empty) == "Mean(nan, weight=0, unit='element')"
    with pytest.raises(bp.EmptyMeanError):
        float(empty)


def test_a_mean_that_carries_a_graph_prints_its_value_too():
    total = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = bp.Mean(total, torch.ones(2), "sample")
    assert f"{mean:.1f}" == "1.5"
    assert repr(mean) == "Mean(1.5, weight=2, unit='sample', samples=2)"
    assert repr(mean.pool()) == "Mean(1.5, weight=2, unit='sample')"


def test_a_mean_without_numbers_has_a_repr():
    meta = torch.ones(3, device="meta")
    assert repr(bp.Mean(meta, meta)) == "Mean(of no numbers, unit='element', samples=3)"


def test_an_estimate_prints_with_its_standard_error():
    meter = bp.Meter()
    assert repr(meter) == "Meter(empty)"
    meter.add(mean_of(1.0, 2.0, 3.0, 6.0))
    estimate = meter.estimate()
    assert str(estimate) == f"{estimate}" == "3 ± 1.1"
    assert f"{estimate:.3f}" == "3.000"
    assert float(estimate) == 3.0
    assert repr(estimate) == "Estimate(3 ± 1.1, weight=4, samples=4, unit='element')"
    assert repr(meter) == "Meter(3 ± 1.1, weight=4, samples=4, unit='element')"
    meter.add(mean_of(3.0).pool())
    assert str(meter.estimate()) == "3"


def test_a_meter_without_weight_and_one_with_groups_have_short_reprs():
    meter = bp.Meter()
    meter.add(bp.Mean.zero())
    assert repr(meter) == "Meter(no weight)"
    meter = bp.Meter(by=["a", "b"])
    meter.add(mean_of(1.0, 2.0), by=torch.tensor([0, 1]))
    assert repr(meter).endswith("unit='element', groups=a, b)")


def test_a_step_and_its_result_have_short_reprs():
    model = nn.Linear(1, 1)
    step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert repr(step) == "Step(Linear, SGD, steps=0)"
    x = torch.ones(2, 1)
    result = step(
        [x], lambda model, x: bp.Outcome(bp.reduce(model(x)[:, 0] * 0 + 2), {"n": mean_of(1.0)})
    )
    assert repr(result) == "StepResult(loss=2, n=1, grad_norm=0)"
    assert "skipped" in repr(step([], lambda model, x: bp.Mean.zero()))
    assert repr(step) == "Step(Linear, SGD, steps=2)"


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (bp.exact(nn.MSELoss()), "exact(MSELoss(), unit='element')"),
        (bp.exact(F.cross_entropy, unit="sample"), "exact(cross_entropy, unit='sample')"),
        (
            bp.exact(partial(F.cross_entropy, label_smoothing=0.1, weight=torch.ones(3))),
            "exact(cross_entropy, weight=(tensor), label_smoothing=0.1, unit='element')",
        ),
        (bp.exact(lambda x: x), "exact(<lambda>)"),
        (bp.exact(abs, unit="sample"), "exact(abs, unit='sample')"),
    ],
)
def test_an_exact_criterion_is_shown_as_it_was_made(made, shown):
    assert repr(made) == shown
    assert len(repr(made)) < 100


def test_an_outcome_shows_its_pairs_and_no_tensor():
    outcome = bp.Outcome(mean_of(2.0), {"n": mean_of(1.0)}, torch.ones(900), torch.ones(900))
    shown = "Mean({}, weight=1, unit='element', samples=1)"
    assert repr(outcome) == f"Outcome(terms={shown.format(2)}, metrics={{'n': {shown.format(1)}}})"


def test_data_metrics_and_run_folders_have_short_reprs(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    batches = Batches(torch.ones(5), batch_size=2, shuffle=True)
    assert repr(batches) == "Batches(samples=5, batch_size=2, shuffle=True)"
    assert repr(ShardSampler("abc", rank=0, world_size=2)) == "ShardSampler(2 of 3 samples)"
    assert repr(Perplexity()) == "Perplexity(Meter(empty))"
    assert repr(RunFolder(tmp_path)) == f"RunFolder({str(tmp_path)!r})"


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="of a newer torch")
def test_a_criterion_with_many_settings_has_a_short_repr():
    assert repr(bp.exact(F.linear_cross_entropy)) == "exact(linear_cross_entropy, unit='element')"
    assert " at 0x" not in repr(bp.exact(nn.TripletMarginWithDistanceLoss()))

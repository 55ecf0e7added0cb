"""A Mean as one of torchmetrics' metrics."""

import pytest
import torch

import batchproof as bp
from batchproof import SettingError

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from batchproof.integrations.torchmetrics import ExactMean  # noqa: E402

LOSSES = torch.tensor([1.0, 2.0, 3.0, 10.0])


@pytest.mark.parametrize("sizes", [(4,), (3, 1), (1, 1, 1, 1)])
def test_the_mean_does_not_depend_on_the_batches(sizes):
    metric = ExactMean()
    for part in LOSSES.split(sizes):
        metric.update(bp.reduce(part))
    assert metric.compute().item() == 4.0
    metric.reset()
    metric.update(bp.reduce(LOSSES[:1]))
    assert metric.compute().item() == 1.0


def test_weights_and_nan_are_kept():
    metric = ExactMean()
    metric.update(bp.reduce(LOSSES[:2], weight=torch.tensor([3.0, 1.0])))
    assert metric.compute().item() == 1.25
    metric.update(bp.reduce(torch.tensor([float("nan")])))
    assert metric.compute().isnan()


def test_it_goes_into_a_collection_and_gives_the_value_of_a_batch():
    metrics = torchmetrics.MetricCollection({"loss": ExactMean()})
    assert metrics(bp.reduce(LOSSES[:3]))["loss"].item() == 2.0
    assert metrics(bp.reduce(LOSSES[3:]))["loss"].item() == 10.0
    assert metrics.compute()["loss"].item() == 4.0


def test_what_is_not_a_mean_is_refused():
    with pytest.raises(SettingError, match=r"given a float; expected a batchproof\.Mean"):
        ExactMean().update(1.0)

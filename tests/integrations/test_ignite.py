"""What ignite does by itself, shown by its own probes, and the exact loss in it."""

import warnings

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof import ProbeError
from framework_docs import blocks, run

with warnings.catch_warnings():
    # ignite imports a part of torch that compiles with torch.jit.script
    warnings.simplefilter("ignore", DeprecationWarning)
    ignite = pytest.importorskip("ignite.engine", reason="pytorch-ignite is not installed")
    metrics = pytest.importorskip("ignite.metrics", reason="pytorch-ignite is not installed")

from batchproof.integrations.ignite import probe_evaluate, probe_step
from ignite_engines import (
    CLASS_WEIGHTS,
    build,
    model,
    plain_evaluator,
    samples,
    trainer,
    weighted_evaluator,
)


def test_loss_with_class_weights_depends_on_the_batches():
    report = probe_evaluate(weighted_evaluator, samples(), build=model).check()
    assert report.names == ("weight-per-micro-batch",)
    assert report.unit == "weighted"


def test_loss_without_weights_is_exact():
    report = probe_evaluate(plain_evaluator, samples(), build=model).check()
    assert report.ok, str(report)


def test_accumulation_averages_micro_batches_and_reports_the_last():
    report = probe_step(trainer, samples(), build=build).check()
    assert set(report.names) == {"mean-of-micro-batch-means", "reported-loss"}


def test_a_short_window_gets_no_step_from_ignites_own_trainer():
    report = probe_step(trainer, samples(), build=build, window=4).check()
    assert set(report.names) == {"fixed-window-size", "mean-of-micro-batch-means", "reported-loss"}
    assert "of 4 + 2 micro-batches the last 2, each divided by 4, get none" in report.verdict
    assert report.diagnoses[0].residual < 1e-9


def test_a_trainer_that_steps_at_the_end_of_an_epoch_divides_by_the_full_window():
    def stepping(net, optimizer, accumulate):
        def update(engine, batch):
            loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
            (loss / accumulate).backward()
            state = engine.state
            if state.iteration % accumulate == 0 or state.iteration == state.epoch_length:
                optimizer.step()
                optimizer.zero_grad()

        return ignite.Engine(update)

    report = probe_step(stepping, samples(), build=build, window=4).check()
    assert report.names == ("fixed-window-size",)
    (short,) = [cut for cut in report.cuts if cut.name == "short-last-window"]
    assert short.dependent


def test_a_metric_that_is_not_attached_is_named():
    with pytest.raises(ProbeError, match="metrics loss but not 'accuracy'"):
        probe_evaluate(plain_evaluator, samples(), build=model, metric="accuracy").check()


def test_what_is_no_engine_is_refused():
    with pytest.raises(ProbeError, match="returns an Engine"):
        probe_evaluate(lambda net: net, samples(), build=model).check()


def test_the_documented_engine_and_metric_are_exact():
    criterion = bp.exact(nn.CrossEntropyLoss(weight=CLASS_WEIGHTS.double()))
    found = []
    for size in (8, 2, 3):
        net, optimizer = build()
        net.double()
        names = {
            "bp": bp,
            "Engine": ignite.Engine,
            "Metric": metrics.Metric,
            "epochs": 1,
            "criterion": criterion,
            "step": bp.Step(net, optimizer),
            "loss": lambda model, batch: criterion(model(batch[0].double()), batch[1]),
            "loader": torch.utils.data.DataLoader(samples(), batch_size=size),
        }
        names = run(blocks("ignite")[0], names)
        evaluator = ignite.create_supervised_evaluator(net, {"loss": names["MeanLoss"]()})
        loader = [(x.double(), y) for x, y in names["loader"]]
        value = evaluator.run(loader).metrics["loss"]
        found.append(torch.cat([torch.tensor([value]), *(p.flatten() for p in net.parameters())]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)

"""What was asked before is not run again, and nothing is taken for it."""

import pytest
import torch
from torch.nn import functional as F

import check_cases as cases
from batchproof import ProbeError
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._run import Subject
from batchproof.check._measure._runner import Runner


def a_runner():
    (case,) = (c for c in cases.RIGHT if c.title == "mlp, pooled")
    probe = case.probe()
    samples = tuple(probe.given())
    return Runner(Subject(probe.run, probe.build, samples, probe.collate), len(samples))


def test_a_cut_is_run_once():
    runner = a_runner()
    assert runner.observe(runner.piece(0, 1)) is runner.observe(runner.piece(0, 1))
    assert runner.record.runs == 1


def test_parameters_moved_otherwise_are_another_shot():
    runner = a_runner()
    losses = set()
    for far in range(20):
        # gone before the next one is made, which may then lie at the same address
        nudge = (("head.bias", torch.tensor([0.1 * far, 0.0, 0.0])),)
        losses.add(runner.observe(runner.whole(), nudge=nudge).loss)
        del nudge
    assert len(losses) == 20


def by_norm(parameters):
    torch.nn.utils.clip_grad_norm_(parameters, 1e-3)


def by_value(parameters):
    torch.nn.utils.clip_grad_value_(parameters, 1e-3)


@pytest.mark.parametrize("clip", [by_norm, by_value])
def test_an_error_in_a_run_without_clipping_leaves_the_next_run_clipped(clip):
    fails = []

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        model(F.dropout(batches[0], 0.5)).pow(2).mean().backward()
        clip(model.parameters())
        if fails:
            raise ValueError("in the middle of a run")
        optimizer.step()

    def build():
        model = torch.nn.Linear(3, 1).double()
        return model, torch.optim.SGD(model.parameters(), 0.1)

    samples = tuple(torch.ones(4, 3, dtype=torch.float64))
    runner = Runner(Subject(run, build, samples, torch.stack), len(samples))
    unclipped = runner.under(Controls(dropout=True, norm=True, clip=True))
    expected = runner.observe(runner.whole())
    fails.append(True)
    with pytest.raises(ProbeError, match="in the middle of a run"):
        unclipped.observe(runner.whole())
    fails.clear()
    again = Runner(runner.subject, len(samples)).observe(runner.whole())
    assert (again.clips, again.clamps) == (expected.clips, expected.clamps) != ((), ())
    torch.testing.assert_close(again.change, expected.change, rtol=0, atol=0)
    free = unclipped.observe(runner.whole())
    assert free.change["weight"].abs().max() > 10 * expected.change["weight"].abs().max()

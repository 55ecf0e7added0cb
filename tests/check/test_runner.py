"""What was asked before is not run again, and nothing is taken for it."""

import torch

import check_cases as cases
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

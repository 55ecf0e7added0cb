"""The laboratory: what was asked before is not run again, and nothing is taken for it."""

import torch

import check_steps
from batchproof.check._lab import Laboratory
from batchproof.check._shot import Kit


def laboratory():
    (case,) = (c for c in check_steps.RIGHT if c.title == "mlp, pooled")
    probe = case.probe()
    samples = tuple(probe.given())
    return Laboratory(Kit(probe.run, probe.build, samples, probe.collate), len(samples))


def test_a_cut_is_run_once():
    lab = laboratory()
    assert lab.shot(lab.piece(0, 1)) is lab.shot(lab.piece(0, 1))
    assert lab.runs == 1


def test_parameters_moved_otherwise_are_another_shot():
    lab = laboratory()
    losses = set()
    for far in range(20):
        # gone before the next one is made, which may then lie at the same address
        nudge = (("head.bias", torch.tensor([0.1 * far, 0.0, 0.0])),)
        losses.add(lab.shot(lab.whole(), nudge=nudge).loss)
        del nudge
    assert len(losses) == 20

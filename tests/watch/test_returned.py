"""What an evaluation returns is read, and nothing of a script is followed for it without end."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from batchproof.watch import watch

x, y = torch.randn(60, 3), torch.randint(2, (60,))
model = nn.Linear(3, 2)


def mean_of_means(*, block_each_batch):
    losses = []
    for start in range(0, 60, 16):
        with torch.no_grad():
            losses.append(F.cross_entropy(model(x[start : start + 16]), y[start : start + 16]))
    if not block_each_batch:
        with torch.no_grad():
            return torch.stack(losses).mean()
    return torch.stack(losses).mean()


@pytest.fixture
def profiles(monkeypatch):
    """Every time that calls begin to be followed."""
    begun = []
    original = sys.setprofile

    def counted(follow):
        begun.extend([follow] * (follow is not None))
        original(follow)

    monkeypatch.setattr(sys, "setprofile", counted)
    return begun


def test_a_line_that_does_not_return_is_followed_once(profiles):
    with watch():
        for _ in range(3):
            mean_of_means(block_each_batch=True)
    assert len(profiles) == 1
    assert sys.getprofile() is None


def test_what_is_returned_from_a_block_is_read():
    with watch() as seen:
        for _ in range(3):
            mean_of_means(block_each_batch=False)
            with torch.no_grad():
                model.weight *= 0.9
    (finding,) = seen.report().wrong
    assert finding.name == "mean-of-batch-means"
    (numbers,) = finding.evidence["numbers"]
    assert (numbers["source"], numbers["label"]) == ("returned", "mean_of_means()")


def test_nothing_is_followed_where_a_profiler_is_at_work(profiles):
    def profiler(*_):
        return None

    sys.setprofile(profiler)
    try:
        with watch():
            mean_of_means(block_each_batch=False)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert profiles == [profiler]

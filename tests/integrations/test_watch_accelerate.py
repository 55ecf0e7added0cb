"""Watch, on accelerate's own guide to gradient accumulation."""

import pytest
import torch
from torch import nn

import batchproof as bp

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")


def accumulated(sizes, window):
    """The report of a loop that accumulates over batches of these sizes."""
    torch.manual_seed(0)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=window)
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(torch.randn(size, 3), torch.randint(3, (size,))) for size in sizes]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with bp.watch() as seen:
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    return seen.report()


def test_the_last_window_of_two_counts_half():
    report = accumulated([2] * 10, 4)
    assert report.names == ("fixed-window-size",)
    sums = [sum(part.mass for part in step.contributions) for step in report.steps]
    assert sums == [1.0, 1.0, 0.5]


def test_full_windows_of_equal_batches_are_right():
    report = accumulated([2] * 8, 4)
    assert report.ok, str(report)


def test_uneven_batches_are_averaged_as_if_they_were_even():
    report = accumulated([2, 3, 2, 1], 2)
    assert report.names == ("mean-of-micro-batch-means",)

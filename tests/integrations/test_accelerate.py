"""What accelerate does by itself, shown by its own probe, and the exact loss in it."""

import pytest
import torch
from torch import nn

import batchproof as bp
from framework_docs import blocks, run

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")

from batchproof.integrations.accelerate import probe_step  # noqa: E402


def loop(accelerator, model, optimizer, loader):
    """The loop of accelerate's own guide to gradient accumulation."""
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for inputs, targets in loader:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()


def build():
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def samples(count: int = 8):
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, generator=draw), torch.randint(3, (), generator=draw)) for _ in range(count)
    ]


def test_uneven_micro_batches_are_averaged_as_if_they_were_even():
    report = probe_step(loop, samples(), build=build).check()
    assert report.names == ("mean-of-micro-batch-means",)
    assert report.unit == "sample"


def test_a_short_last_window_is_divided_by_the_full_one():
    report = probe_step(loop, samples(), build=build, window=4).check()
    assert "fixed-window-size" in report.names


def test_the_third_window_of_ten_micro_batches_has_half_the_gradient():
    gradients = []
    model, optimizer = build()
    optimizer.register_step_pre_hook(lambda *_: gradients.append(model.weight.grad.clone()))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    batch = (torch.ones(1, 3), torch.tensor([1]))
    probe_step(loop, samples(), build=build, window=4).run(model, optimizer, [batch] * 10)
    sizes = [float(g.norm() / gradients[0].norm()) for g in gradients]
    assert sizes == pytest.approx([1.0, 1.0, 0.5])


def test_the_documented_loop_is_exact():
    criterion = bp.exact(nn.CrossEntropyLoss())
    found = []
    for size in (8, 2, 3):
        net, optimizer = build()
        names = {
            "bp": bp,
            "Accelerator": accelerate.Accelerator,
            "DataLoaderConfiguration": accelerate.DataLoaderConfiguration,
            "epochs": 1,
            "net": net.double(),
            "optimizer": optimizer,
            "loss": lambda model, batch: criterion(model(batch[0].double()), batch[1]),
            "loader": torch.utils.data.DataLoader(samples(), batch_size=size),
        }
        names = run(blocks("accelerate")[0], names)
        found.append(torch.cat([p.flatten() for p in net.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)

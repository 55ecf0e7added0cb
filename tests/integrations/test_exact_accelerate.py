"""accelerate's accumulate and backward made exact."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import batchproof as bp
from batchproof import CriterionError, SettingError

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")

from batchproof.integrations.accelerate import exactly, probe_step  # noqa: E402


def loop(accelerator, model, optimizer, loader):
    accelerator = exactly(accelerator)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for inputs, targets in loader:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            optimizer.zero_grad()
    return accelerator.step_loss


def build():
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def samples(count: int = 8):
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, generator=draw), torch.randint(3, (), generator=draw)) for _ in range(count)
    ]


@pytest.mark.parametrize("window", [None, 4])
def test_a_step_is_the_gradient_of_one_mean(window):
    report = probe_step(loop, samples(), build=build, window=window).check()
    assert report.ok, str(report)


def test_watch_finds_nothing_wrong():
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    with bp.watch() as seen:
        model, optimizer = build()
        loop(accelerator, model, optimizer, DataLoader(samples(11), batch_size=2))
    report = seen.report()
    assert report.ok, str(report)


def test_two_terms_whose_weights_are_in_one_ratio_are_exact():
    def both(accelerator, model, optimizer, loader):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                out = model(inputs)
                loss = nn.functional.cross_entropy(out, targets)
                loss = loss + 0.5 * nn.functional.mse_loss(out, torch.ones_like(out))
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()

    weights = []
    for size in (8, 3):
        accelerator = exactly(accelerate.Accelerator(cpu=True, gradient_accumulation_steps=8))
        model, optimizer = build()
        model, optimizer, loader = accelerator.prepare(
            model, optimizer, DataLoader(samples(), batch_size=size)
        )
        both(accelerator, model, optimizer, loader)
        weights.append(model.weight.detach().clone())
    torch.testing.assert_close(weights[1], weights[0], rtol=2e-6, atol=1e-7)


def test_terms_in_no_one_ratio_are_refused():
    def two(rows):
        with accelerator.accumulate(model):
            out = model(torch.ones(4, 3))
            loss = nn.functional.mse_loss(out[:rows], torch.ones(rows, 3))
            accelerator.backward(loss + nn.functional.l1_loss(out, torch.ones(4, 3)))

    accelerator = exactly(accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2))
    model = accelerator.prepare(build()[0])
    two(1)
    with pytest.raises(bp.MissingCountError, match="weights in one ratio"):
        two(4)


def test_a_backward_outside_accumulate_is_refused():
    accelerator = exactly(accelerate.Accelerator(cpu=True))
    with pytest.raises(SettingError, match="backward was called outside accumulate"):
        accelerator.backward(torch.zeros(()))


def test_a_loss_that_torch_did_not_return_is_refused():
    accelerator = exactly(accelerate.Accelerator(cpu=True))
    model, _ = build()
    model = accelerator.prepare(model)
    with (
        pytest.raises(CriterionError, match="none was called"),
        accelerator.accumulate(model),
    ):
        accelerator.backward(model(torch.ones(1, 3)).square().mean())


def test_what_is_not_an_accelerator_is_refused():
    with pytest.raises(SettingError, match=r"given a int; expected an accelerate\.Accelerator"):
        exactly(3)


ON_RANKS = """
import importlib.util
spec = importlib.util.spec_from_file_location("exact_loop", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import accelerate, torch
model, optimizer = module.build()
accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
loader = torch.utils.data.DataLoader(module.samples(9), batch_size=1)
loss = module.loop(accelerator, model, optimizer, loader)
if accelerator.is_main_process:
    torch.save(dict(loss=loss, weight=model.weight.detach()), {folder!r} + "/result.pt")
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_samples_that_are_repeated_for_two_ranks_count_once(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(ON_RANKS.format(file=str(Path(__file__)), folder=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    model, optimizer = build()
    for start in range(0, 9, 4):
        inputs, targets = map(torch.stack, zip(*samples(9)[start : start + 4], strict=True))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    torch.testing.assert_close(result["weight"], model.weight.detach(), rtol=2e-6, atol=1e-6)
    assert result["loss"] == pytest.approx(loss.item(), rel=1e-6)

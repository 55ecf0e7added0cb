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

import ragged_training  # noqa: E402
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
    with pytest.raises(SettingError, match=r"given an int; expected an accelerate\.Accelerator"):
        exactly(3)


ON_RANKS = """
import importlib.util
import sys
sys.path.insert(0, {support!r})
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
accelerator.end_training()
"""


def on_two_ranks(script, folder):
    """Run a script that imports this file, on two ranks."""
    here = Path(__file__).resolve()
    support = str(here.parents[1] / "support")
    path = folder / "train.py"
    path.write_text(script.format(file=str(here), folder=str(folder), support=support))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.ranks
@pytest.mark.slow
def test_samples_that_are_repeated_for_two_ranks_count_once(tmp_path):
    on_two_ranks(ON_RANKS, tmp_path)
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


def recut_loop(accelerator, epochs=2, size=2, first_batch=0, model=None):
    """The weights, the loss of each step and the shapes after epochs over ragged texts."""
    model = model or ragged_training.Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loader = DataLoader(ragged_training.TEXTS, batch_size=size, collate_fn=ragged_training.collate)
    accelerator = exactly(accelerator)
    wrapped, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses, padding = [], bp.data.Padding()
    for epoch in range(epochs):
        rest = accelerator.skip_first_batches(loader, first_batch if epoch == 0 else 0)
        drawn = accelerator.recut(rest, tokens=20)
        for batch in drawn:
            with accelerator.accumulate(wrapped):
                targets = batch["ids"].masked_fill(~batch["mask"], -100)
                logits = wrapped(batch["ids"]).transpose(1, 2)
                accelerator.backward(nn.functional.cross_entropy(logits, targets))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(wrapped.parameters(), 0.5)
                    losses.append(accelerator.step_loss)
                optimizer.step()
                optimizer.zero_grad()
        padding += drawn.padding
    return model, losses, padding


def recut_by_hand(window, starts):
    model, losses = ragged_training.Model(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for start in starts:
        batch = ragged_training.collate(ragged_training.TEXTS[start : start + window])
        optimizer.zero_grad()
        loss = ragged_training.loss(model, batch).value()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("accumulate", [1, 3])
def test_windows_that_are_recut_have_the_same_gradient_to_the_last_digits(accumulate):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model, losses, padding = recut_loop(accelerator)
    window = 2 * accumulate
    expected, values = recut_by_hand(window, 2 * [*range(0, 17, window)])
    weights = ragged_training.flat(expected)
    torch.testing.assert_close(ragged_training.flat(model), weights, rtol=1e-12, atol=1e-13)
    assert losses == pytest.approx(values, rel=1e-12)
    assert padding.after < padding.before
    assert padding.tokens == 2 * sum(ragged_training.SIZES)
    assert max(rows * longest for rows, longest in model.shapes if rows > 1) <= 20


def test_an_epoch_that_is_resumed_takes_the_windows_that_are_left():
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
    model, losses, _ = recut_loop(accelerator, epochs=1, first_batch=6)
    expected, values = recut_by_hand(6, [12])
    assert losses == pytest.approx(values, rel=1e-12)
    weights = ragged_training.flat(expected)
    torch.testing.assert_close(ragged_training.flat(model), weights, rtol=1e-12, atol=1e-13)


def test_a_loop_that_ends_within_a_window_leaves_the_accelerator_as_it_was():
    accelerator = exactly(accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3))
    loader = DataLoader(ragged_training.TEXTS, batch_size=2, collate_fn=ragged_training.collate)
    for _ in accelerator.recut(accelerator.prepare(loader), tokens=20):
        assert accelerator.recutting is not None
        break
    assert accelerator.recutting is None


@pytest.mark.parametrize(
    ("prepared", "options", "message"),
    [
        (False, {}, r"given a DataLoader; expected a loader that accelerator\.prepare returned"),
        (True, {"tokens": 0}, "tokens is 0; expected a whole number, 1 or more"),
        (True, {"sync": False}, "sync_with_dataloader is False, so windows go on"),
    ],
)
def test_what_cannot_be_recut_is_refused(prepared, options, message):
    plugin = accelerate.utils.GradientAccumulationPlugin(
        num_steps=2, sync_with_dataloader=options.get("sync", True)
    )
    accelerator = exactly(accelerate.Accelerator(cpu=True, gradient_accumulation_plugin=plugin))
    loader = DataLoader(samples(), batch_size=2)
    loader = accelerator.prepare(loader) if prepared else loader
    with pytest.raises(SettingError, match=message):
        accelerator.recut(loader, tokens=options.get("tokens", 20))


RECUT_ON_RANKS = """
import importlib.util
import sys
sys.path.insert(0, {support!r})
spec = importlib.util.spec_from_file_location("exact_loop", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import accelerate, torch
accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
model, losses, _ = module.recut_loop(accelerator, size=1)
torch.save(dict(losses=losses, weights=module.ragged_training.flat(model),
                parts=len(model.shapes)), {folder!r} + f"/{{accelerator.process_index}}.pt")
accelerator.end_training()
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_two_ranks_recut_their_shares_of_a_window(tmp_path):
    on_two_ranks(RECUT_ON_RANKS, tmp_path)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    expected, losses = recut_by_hand(6, 2 * [0, 6, 12])
    for result in results:
        weights = ragged_training.flat(expected)
        torch.testing.assert_close(result["weights"], weights, rtol=1e-12, atol=1e-13)
        assert result["losses"] == pytest.approx(losses, rel=1e-12)
    assert results[0]["parts"] != results[1]["parts"]

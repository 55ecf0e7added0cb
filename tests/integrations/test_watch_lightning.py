"""Watch, on Lightning's Trainer as it is."""

import pytest
import torch

import batchproof as bp

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import tiny_lightning  # noqa: E402


def fitted(count, *, batch_size, window):
    """The report of a Trainer that fits so many samples for one epoch."""
    samples = tiny_lightning.classified(count)
    loader = torch.utils.data.DataLoader(samples, batch_size=batch_size)
    trainer = lightning.Trainer(
        max_epochs=1,
        accumulate_grad_batches=window,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with bp.watch() as seen:
        trainer.fit(tiny_lightning.Classifier(), loader)
    return seen.report()


@pytest.mark.filterwarnings("ignore")
def test_the_last_window_of_two_counts_half():
    report = fitted(20, batch_size=2, window=4)
    assert report.names == ("fixed-window-size",)
    sums = [sum(part.mass for part in step.contributions) for step in report.steps]
    assert sums == [1.0, 1.0, 0.5]
    (found,) = report.wrong
    assert "tiny_lightning.py" in found.place


@pytest.mark.filterwarnings("ignore")
def test_full_windows_of_equal_batches_are_right():
    report = fitted(16, batch_size=2, window=4)
    assert report.ok, str(report)

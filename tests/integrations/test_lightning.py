"""What Lightning does by itself, shown by its own probes, and the exact loss in it."""

import functools

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof import ProbeError
from framework_docs import blocks, run

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from batchproof.integrations.lightning import probe_evaluate, probe_step  # noqa: E402
from tiny_lightning import Classifier, Number, classified, numbers  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:.*isinstance.treespec, LeafSpec.*:DeprecationWarning",
)


def test_a_short_last_window_is_divided_by_the_full_one():
    report = probe_step(Classifier, classified(), window=4).check()
    assert "fixed-window-size" in report.names
    (short,) = [cut for cut in report.cuts if cut.name == "short-last-window"]
    assert short.dependent


def test_two_micro_batches_left_of_four_give_half_the_gradient():
    ones = [(torch.ones(3), torch.tensor(1)) for _ in range(8)]
    cuts = {"four": [[0, 1], [2, 3], [4, 5], [6, 7]], "two": [[0, 1, 2, 3], [4, 5, 6, 7]]}
    scales = {
        cut.name: cut.scale
        for cut in probe_step(Classifier, ones, window=4, cuts=cuts).check().cuts
    }
    assert scales["two"] / scales["four"] == pytest.approx(0.5)


def test_uneven_micro_batches_are_averaged_as_if_they_were_even():
    report = probe_step(Classifier, classified()).check()
    assert "mean-of-micro-batch-means" in report.names
    assert "reported-loss" in report.names
    assert report.unit == "sample"


def test_validation_over_rows_on_one_rank_is_exact_but_for_nan():
    report = probe_evaluate(Classifier, classified()).check()
    assert set(report.names) <= {"nan-batch-dropped"}


@pytest.mark.ranks
@pytest.mark.parametrize(("sync", "expected"), [(False, 4.0), (True, 3.6)])
def test_validation_on_two_ranks_counts_a_sample_twice(sync, expected):
    module = functools.partial(Number, sync=sync)
    report = probe_evaluate(module, numbers, ranks=(1, 2)).check()
    assert report.names == ("duplicated-samples",)
    values = [cut.loss for cut in report.cuts if cut.ranks == 2]
    assert expected in [round(value, 3) for value in values]
    assert ("own: 4 and 3.2." in report.verdict) is not sync


def test_the_trainers_clipping_is_kept():
    trainer = lightning.Trainer(
        gradient_clip_val=1e-3, logger=False, enable_checkpointing=False, accelerator="cpu"
    )
    probe = probe_step(Classifier, classified(), trainer=trainer)
    module, optimizer = probe.build()
    probe.run(module, optimizer, [probe.collate(classified())])
    norm = torch.stack([p.grad.norm() for p in module.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_several_optimizers_are_refused():
    class Pair(Classifier):
        def configure_optimizers(self):
            return [super().configure_optimizers(), super().configure_optimizers()]

    with pytest.raises(ProbeError, match="expected one optimizer"):
        probe_step(Pair, classified()).check()


def test_a_metric_that_is_not_logged_is_named():
    with pytest.raises(ProbeError, match="logs val_loss but not 'val_accuracy'"):
        probe_evaluate(Classifier, classified(), metric="val_accuracy").check()


def test_the_documented_module_trains_and_validates_exactly():
    criterion = bp.exact(nn.CrossEntropyLoss())
    names = {"bp": bp, "torch": torch, "lightning": lightning}
    names["loss"] = lambda model, batch: criterion(model(batch[0]), batch[1])
    module_type = run(blocks("lightning")[0], names)["Exact"]
    collate = torch.utils.data.default_collate
    samples = classified(7)
    found = []
    for sizes in ([7], [2, 2, 2, 1], [4, 3]):
        torch.manual_seed(0)
        module = module_type(nn.Linear(3, 3).double(), accumulate=4)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        batches = [
            [t.double() if t.is_floating_point() else t for t in collate(samples[e - s : e])]
            for s, e in zip(sizes, ends, strict=True)
        ]
        trainer = lightning.Trainer(
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            accelerator="cpu",
            num_sanity_val_steps=0,
        )
        loader = torch.utils.data.DataLoader(batches, batch_size=None)
        trainer.fit(module, loader, loader)
        metrics = trainer.callback_metrics
        found.append(
            torch.stack([metrics["train_loss"], metrics["val_loss"], *module.net.weight.flatten()])
        )
    torch.testing.assert_close(found[1], found[0], rtol=1e-7, atol=0)
    torch.testing.assert_close(found[2], found[0], rtol=1e-7, atol=0)

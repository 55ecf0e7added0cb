"""Lightning made exact by a callback: proved by check and watch, and as whole trainings."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import batchproof as bp
from batchproof import CriterionError, SettingError

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import tiny_lightning  # noqa: E402
from batchproof.integrations._recut_parts import refuse_collectives  # noqa: E402
from batchproof.integrations.lightning import Exact, probe_evaluate, probe_step  # noqa: E402
from ragged_training import TEXTS, flat  # noqa: E402
from tiny_lightning import Classifier, classified  # noqa: E402

SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:.*isinstance.treespec, LeafSpec.*:DeprecationWarning",
    "ignore:Checkpoint directory .* exists and is not empty:UserWarning",
)


def trained(tmp_path, module=None, epochs=3, callbacks=(), ckpt_path=None, **options):
    """A module that was trained over 11 samples in windows of 2 batches of 2, and its trainer."""
    module = module or Classifier()
    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        max_epochs=epochs,
        accumulate_grad_batches=2,
        gradient_clip_val=0.5,
        callbacks=[Exact(), *callbacks],
        **options,
    )
    loader = DataLoader(classified(11), batch_size=2)
    trainer.fit(module, loader, DataLoader(classified(11), batch_size=4), ckpt_path=ckpt_path)
    return module, trainer


def by_hand(epochs):
    """The weights and the losses of steps over whole windows."""
    net = Classifier().net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    samples, losses = classified(11), []
    for _ in range(epochs):
        for start in range(0, 11, 4):
            inputs, targets = map(torch.stack, zip(*samples[start : start + 4], strict=True))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
    return net, losses


def whole(net):
    inputs, targets = map(torch.stack, zip(*classified(11), strict=True))
    with torch.no_grad():
        return nn.functional.cross_entropy(net(inputs), targets).item()


def same_weights(one, other):
    for value, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, theirs, rtol=2e-6, atol=1e-6)


def test_a_step_is_the_gradient_of_one_mean():
    report = probe_step(Classifier, classified(), trainer=tiny_lightning.exact).check()
    assert report.ok, str(report)


def test_a_short_last_window_is_a_whole_one():
    report = probe_step(Classifier, classified(), trainer=tiny_lightning.exact, window=4).check()
    assert report.ok, str(report)


def test_a_validation_is_one_number():
    report = probe_evaluate(Classifier, classified(9), trainer=tiny_lightning.exact).check()
    assert report.ok, str(report)


@pytest.mark.ranks
@pytest.mark.slow
def test_two_ranks_are_exact():
    cuts = ["one-by-one", "halves", "ranks-2-even", "ranks-2-uneven"]
    report = probe_step(
        Classifier, classified(), trainer=tiny_lightning.exact, ranks=(1, 2), cuts=cuts
    ).check()
    assert report.ok, str(report)
    report = probe_evaluate(
        Classifier, classified(9), trainer=tiny_lightning.exact, ranks=(1, 2)
    ).check()
    assert report.ok, str(report)


def test_a_whole_training_takes_the_steps_of_whole_windows(tmp_path):
    kept = tiny_lightning.Kept()
    module, trainer = trained(tmp_path, callbacks=[kept], enable_checkpointing=False)
    net, losses = by_hand(3)
    same_weights(module.net, net)
    assert trainer.global_step == 9
    assert list(dict.fromkeys(kept.logged)) == pytest.approx(losses, rel=1e-5)
    assert trainer.callback_metrics["val_loss"].item() == pytest.approx(whole(net), rel=1e-5)


def test_checkpoints_stopping_and_resuming_are_lightnings_own(tmp_path):
    def callbacks():
        best = lightning.callbacks.ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1)
        return [best, lightning.callbacks.EarlyStopping("val_loss", patience=50)]

    (best, _) = chosen = callbacks()
    first, _ = trained(tmp_path, epochs=2, callbacks=chosen)
    assert best.best_model_score.item() == pytest.approx(whole(first.net), rel=1e-5)
    module, second = trained(tmp_path, callbacks=callbacks(), ckpt_path=best.best_model_path)
    assert second.global_step == 9
    same_weights(module.net, by_hand(3)[0])


@pytest.mark.filterwarnings(
    "ignore:You defined a .validation_step. but have no:UserWarning",
    "ignore:You're resuming from a checkpoint that ended before:UserWarning",
)
def test_a_resumed_epoch_counts_the_samples_of_the_loader_that_begins_anew(tmp_path):
    def on_rank_1(max_steps, ckpt_path=None):
        # its sixth sample is the first of rank 0 again
        sampler = torch.utils.data.DistributedSampler(classified(11), 2, 1, shuffle=False)
        module, saves = Classifier(), lightning.callbacks.ModelCheckpoint(tmp_path)
        trainer = lightning.Trainer(
            default_root_dir=tmp_path,
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            accelerator="cpu",
            max_steps=max_steps,
            callbacks=[Exact(), saves],
        )
        loader = DataLoader(classified(11), batch_size=2, sampler=sampler)
        trainer.fit(module, loader, ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "at.ckpt")
        return module.net

    net = on_rank_1(2)
    net.zero_grad()
    inputs, targets = map(torch.stack, zip(*classified(11)[1:4:2], strict=True))
    nn.functional.cross_entropy(net(inputs), targets).backward()
    for parameter in net.parameters():
        parameter.data -= 0.1 * parameter.grad
    same_weights(on_rank_1(3, tmp_path / "at.ckpt"), net)


def test_a_training_loss_over_an_epoch_is_the_mean_over_its_samples(tmp_path):
    class Epochs(Classifier):
        def training_step(self, batch, batch_idx):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    module, trainer = trained(tmp_path, Epochs(), epochs=1, enable_checkpointing=False)
    assert trainer.callback_metrics["train_loss_epoch"].item() == pytest.approx(
        whole(module.net), rel=1e-6
    )


def test_a_mean_of_ones_own_can_be_logged(tmp_path):
    class Own(Classifier):
        def validation_step(self, batch, batch_idx):
            right = self.net(batch[0]).argmax(1) == batch[1]
            self.log("accuracy", bp.reduce(right))

    module, trainer = trained(tmp_path, Own(), epochs=1, enable_checkpointing=False)
    inputs, targets = map(torch.stack, zip(*classified(11), strict=True))
    right = (module.net(inputs).argmax(1) == targets).float().mean().item()
    assert trainer.callback_metrics["accuracy"].item() == pytest.approx(right)


def test_a_window_without_labels_moves_nothing_and_logs_nothing(tmp_path):
    samples = classified(8)
    for _, target in samples[:4]:
        target.fill_(-100)
    module = Classifier()
    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=2,
        callbacks=[Exact()],
    )
    trainer.fit(module, DataLoader(samples, batch_size=2), DataLoader(classified(4)))
    inputs, targets = map(torch.stack, zip(*samples[4:], strict=True))
    # at the first weights, since the first window moved nothing
    second = nn.functional.cross_entropy(Classifier().net(inputs), targets)
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(second.item(), rel=1e-6)
    assert trainer.global_step == 2


def test_watch_finds_nothing_wrong(tmp_path):
    with bp.watch() as seen:
        trained(tmp_path, epochs=1, enable_checkpointing=False)
    report = seen.report()
    assert report.ok, str(report)


def test_torch_is_left_as_it_was(tmp_path):
    original = nn.functional.cross_entropy
    trained(tmp_path, epochs=1, enable_checkpointing=False)
    assert nn.functional.cross_entropy is original


def recut(folder, epochs=2, callbacks=(), ckpt_path=None, size=2, **options):
    """A module that was trained over ragged texts under a budget, its trainer and the callback."""
    exact = Exact(tokens=20)
    trainer = lightning.Trainer(
        default_root_dir=folder,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        max_epochs=epochs,
        gradient_clip_val=0.5,
        callbacks=[exact, *callbacks],
        **options,
    )
    module = tiny_lightning.Ragged()
    trainer.fit(module, tiny_lightning.ragged(size), tiny_lightning.ragged(4), ckpt_path=ckpt_path)
    return module, trainer, exact


@pytest.mark.parametrize("accumulate", [1, 3])
def test_windows_that_are_recut_have_the_same_gradient_to_the_last_digits(tmp_path, accumulate):
    options = {"accumulate_grad_batches": accumulate, "enable_checkpointing": False}
    kept = tiny_lightning.Kept()
    module, trainer, exact = recut(tmp_path, callbacks=[kept], **options)
    weights, losses = tiny_lightning.ragged_by_hand(2 * accumulate)
    torch.testing.assert_close(flat(module), weights, rtol=1e-12, atol=1e-13)
    assert trainer.global_step == len(losses)
    assert list(dict.fromkeys(kept.logged)) == pytest.approx(losses, rel=1e-6)
    firsts = [text[0].item() for text in TEXTS]
    assert trainer.callback_metrics["first"].item() == pytest.approx(sum(firsts) / len(firsts))
    before, after = {1: (135, 107), 3: (135, 100)}[accumulate]
    assert exact.padding == bp.data.Padding(2 * 85, 2 * before, 2 * after)
    assert max(rows * longest for rows, longest in module.trained if rows > 1) <= 20
    assert "backward" not in vars(trainer.strategy)


def test_batches_are_counted_and_checkpoints_resume_as_without_a_budget(tmp_path):
    ended = tiny_lightning.Kept()
    best = lightning.callbacks.ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1)
    options = {"accumulate_grad_batches": 3}
    recut(tmp_path, epochs=1, callbacks=[ended, best], **options)
    assert ended.batches == [(i, (i + 1) // 3 if i < 8 else 3) for i in range(9)]
    module, trainer, _ = recut(tmp_path, ckpt_path=best.best_model_path, **options)
    weights, losses = tiny_lightning.ragged_by_hand(6)
    torch.testing.assert_close(flat(module), weights, rtol=1e-12, atol=1e-13)
    assert trainer.global_step == len(losses)
    _, trainer, _ = recut(tmp_path, max_steps=2, enable_checkpointing=False, **options)
    assert trainer.global_step == 2


def test_recut_windows_are_watched_without_a_finding(tmp_path):
    with bp.watch() as seen:
        recut(tmp_path, accumulate_grad_batches=3, enable_checkpointing=False)
    report = seen.report()
    assert report.ok, str(report)


def test_a_module_that_draws_its_batches_by_itself_is_not_recut():
    class Drawing(Classifier):
        def training_step(self, dataloader_iter):
            return None

    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(Drawing())
    with pytest.raises(SettingError, match="takes dataloader_iter, and tokens was given"):
        Exact(tokens=20).on_train_start(trainer, trainer.lightning_module)


def test_a_budget_of_no_position_is_refused():
    with pytest.raises(SettingError, match="tokens is 0; expected a whole number, 1 or more"):
        Exact(tokens=0)


def test_ranks_that_meet_in_every_pass_are_refused():
    with pytest.raises(SettingError, match="ranks meet in every pass of FSDPStrategy"):
        refuse_collectives([], "FSDPStrategy")


def test_a_loss_that_is_no_sum_of_means_is_refused(tmp_path):
    class Squared(Classifier):
        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1]) ** 2

    with pytest.raises(CriterionError, match="expected a sum of their means"):
        trained(tmp_path, Squared(), epochs=1, enable_checkpointing=False)


def test_manual_optimisation_is_refused(tmp_path):
    module = Classifier()
    module.automatic_optimization = False
    trainer = lightning.Trainer(callbacks=[Exact()], logger=False, enable_checkpointing=False)
    with pytest.raises(SettingError, match="Classifier has manual optimisation"):
        Exact().setup(trainer, module, "fit")


ON_RANKS = """
import sys
sys.path.insert(0, {support!r})
import lightning.pytorch as lightning
import torch
from torch.utils.data import DataLoader
from batchproof.integrations.lightning import Exact
import tiny_lightning  # noqa: E402
from tiny_lightning import Classifier, classified

module = Classifier()
trainer = lightning.Trainer(
    default_root_dir={folder!r}, logger=False, enable_model_summary=False, strategy="ddp",
    enable_progress_bar=False, enable_checkpointing=False, accelerator="cpu", devices=2,
    max_epochs=3, accumulate_grad_batches=2, gradient_clip_val=0.5, callbacks=[Exact()],
    num_sanity_val_steps=0,
)
trainer.fit(
    module,
    DataLoader(classified(11), batch_size=1, sampler=torch.utils.data.DistributedSampler(
        classified(11), 2, trainer.global_rank, shuffle=False)),
    DataLoader(classified(11), batch_size=2),
)
if trainer.is_global_zero:
    torch.save(dict(model=module.net.state_dict(), val=trainer.callback_metrics["val_loss"].item()),
               {folder!r} + "/result.pt")
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_two_ranks_train_as_one_where_the_samples_do_not_divide(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(ON_RANKS.format(support=str(SUPPORT), folder=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    net, _ = by_hand(3)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, result["model"][name], rtol=1e-5, atol=1e-6)
    assert result["val"] == pytest.approx(whole(net), rel=1e-5)


RECUT_ON_RANKS = """
import sys
sys.path.insert(0, {support!r})
import lightning.pytorch as lightning
import torch
from torch.utils.data import DistributedSampler
from batchproof.integrations.lightning import Exact
import tiny_lightning  # noqa: E402
from ragged_training import TEXTS, flat

module, exact = tiny_lightning.Ragged(), Exact(tokens=20)
trainer = lightning.Trainer(
    default_root_dir={folder!r}, logger=False, enable_model_summary=False, strategy="ddp",
    enable_progress_bar=False, enable_checkpointing=False, accelerator="cpu", devices=2,
    max_epochs=2, accumulate_grad_batches=3, gradient_clip_val=0.5, callbacks=[exact],
    num_sanity_val_steps=0,
)
sampler = DistributedSampler(TEXTS, 2, trainer.global_rank, shuffle=False)
trainer.fit(module, tiny_lightning.ragged(1, sampler))
torch.save(dict(weights=flat(module), steps=trainer.global_step, parts=len(module.trained)),
           {folder!r} + f"/{{trainer.global_rank}}.pt")
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_two_ranks_recut_their_shares_of_a_window(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(RECUT_ON_RANKS.format(support=str(SUPPORT), folder=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    # 17 texts in turn over two ranks, 3 batches of one each: 6 a window, the last of one repeated
    weights, losses = tiny_lightning.ragged_by_hand(6)
    for result in results:
        torch.testing.assert_close(result["weights"], weights, rtol=1e-12, atol=1e-13)
        assert result["steps"] == len(losses)
    assert results[0]["parts"] != results[1]["parts"]

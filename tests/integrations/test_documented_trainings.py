"""The recipes of docs/frameworks.md as whole trainings, with what their users rely on."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import batchproof as bp
from framework_docs import blocks, run

# frameworks warn of their own and each other's deprecations
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:.*isinstance.treespec, LeafSpec.*:DeprecationWarning",
    "ignore:Using ModelCheckpoint with manual optimization:UserWarning",
    "ignore:Checkpoint directory .* exists and is not empty:UserWarning",
)

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def needs(framework: str) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")


def classified(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(3, generator=draw), torch.tensor(i % 3)) for i in range(count)]


CRITERION = bp.exact(nn.CrossEntropyLoss())


def loss(model, batch):
    return CRITERION(model(batch[0]), batch[1])


def by_hand(epochs: int, window: int, gamma: float = 1.0, max_norm: float = 1e9) -> torch.Tensor:
    """The weights after epochs over 11 samples in windows, each step the mean of its window."""
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    samples = classified(11)
    for _ in range(epochs):
        for start in range(0, len(samples), window):
            inputs, targets = map(torch.stack, zip(*samples[start : start + window], strict=True))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            nn.utils.clip_grad_norm_(net.parameters(), max_norm)
            optimizer.step()
        optimizer.param_groups[0]["lr"] *= gamma
    return net.weight.detach()


def lightning_module():
    import lightning.pytorch as lightning

    names = {"bp": bp, "torch": torch, "lightning": lightning, "loss": loss}
    module_type = run(blocks("lightning")[0], names)["Exact"]
    torch.manual_seed(0)
    return lightning, module_type(nn.Linear(3, 3), accumulate=2)


def quiet(lightning, tmp_path, **options):
    return lightning.Trainer(
        default_root_dir=tmp_path,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        **options,
    )


def test_lightning_counts_the_steps_and_moves_the_schedule(tmp_path):
    needs("lightning")
    lightning, module = lightning_module()
    loader = DataLoader(classified(11), batch_size=2)
    trainer = quiet(lightning, tmp_path, max_epochs=3, enable_checkpointing=False)
    trainer.fit(module, loader, loader)
    assert trainer.global_step == module.step.steps == 9
    expected = by_hand(epochs=3, window=4, gamma=0.5, max_norm=1.0)
    torch.testing.assert_close(module.net.weight.detach(), expected, rtol=2e-6, atol=1e-6)


def test_lightning_stops_at_max_steps_and_writes_checkpoints(tmp_path):
    needs("lightning")
    lightning, module = lightning_module()
    loader = DataLoader(classified(11), batch_size=2)
    keep = lightning.callbacks.ModelCheckpoint(
        tmp_path / "all", every_n_train_steps=2, save_top_k=-1
    )
    best = lightning.callbacks.ModelCheckpoint(tmp_path / "best", monitor="val_loss")
    trainer = quiet(lightning, tmp_path, max_steps=4, max_epochs=50, callbacks=[keep, best])
    trainer.fit(module, loader, loader)
    assert trainer.global_step == 4
    assert len(list((tmp_path / "all").glob("*.ckpt"))) == 2
    assert Path(best.best_model_path).is_file()


def test_lightning_resumes_from_its_checkpoint(tmp_path):
    needs("lightning")
    lightning, module = lightning_module()
    loader = DataLoader(classified(11), batch_size=2)
    first = quiet(lightning, tmp_path, max_epochs=1)
    first.fit(module, loader, loader)
    path = first.checkpoint_callback.best_model_path
    assert path
    _, again = lightning_module()
    second = quiet(lightning, tmp_path, max_epochs=2)
    second.fit(again, loader, loader, ckpt_path=path)
    assert second.global_step == 6
    expected = by_hand(epochs=2, window=4, gamma=0.5, max_norm=1.0)
    torch.testing.assert_close(again.net.weight.detach(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ignite_trains_every_epoch():
    needs("ignite")
    from ignite.engine import Engine, Events
    from ignite.metrics import Metric

    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    names = {
        "bp": bp,
        "Engine": Engine,
        "Metric": Metric,
        "criterion": CRITERION,
        "step": bp.Step(net, torch.optim.SGD(net.parameters(), lr=0.1)),
        "loss": loss,
        "loader": DataLoader(classified(11), batch_size=1),
        "epochs": 3,
    }
    trainer = run(blocks("ignite")[0], names)["trainer"]
    assert trainer.state.epoch == 3
    assert trainer.state.iteration == names["step"].steps == 9
    assert Events.COMPLETED in trainer._allowed_events
    torch.testing.assert_close(net.weight.detach(), by_hand(3, 4), rtol=2e-6, atol=1e-6)


def test_accelerate_trains_every_epoch():
    needs("accelerate")
    import accelerate

    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    names = {
        "bp": bp,
        "Accelerator": accelerate.Accelerator,
        "DataLoaderConfiguration": accelerate.DataLoaderConfiguration,
        "net": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "loss": loss,
        "loader": DataLoader(classified(11), batch_size=1),
        "epochs": 3,
    }
    names = run(blocks("accelerate")[0], names)
    assert names["step"].steps == 9
    torch.testing.assert_close(net.weight.detach(), by_hand(3, 4), rtol=2e-6, atol=1e-6)


ON_RANKS = """
import sys
import torch
from torch.utils.data import DataLoader
import accelerate
import batchproof as bp
from framework_docs import blocks, run

net = torch.nn.Linear(1, 1)
torch.nn.init.zeros_(net.weight)
torch.nn.init.zeros_(net.bias)
loss = lambda model, batch: bp.reduce((model(batch) - batch).abs()[:, 0])
names = {
    "bp": bp,
    "Accelerator": accelerate.Accelerator,
    "DataLoaderConfiguration": accelerate.DataLoaderConfiguration,
    "net": net,
    "optimizer": torch.optim.SGD(net.parameters(), lr=0.0),
    "loss": loss,
    "loader": DataLoader(torch.arange(9.0)[:, None], batch_size=2),
    "epochs": 2,
}
names = run(blocks("accelerate")[0].replace("accumulate=4", "accumulate=100"), names)
mean = bp.evaluate(names["net"], names["loader"], loss)
if names["accelerator"].is_main_process:
    result = names["result"]
    print(names["step"].steps, result.loss.item(), result.loss.weight.item(), mean.value)
"""


@pytest.mark.ranks
@pytest.mark.parametrize("ranks", [2, 3])
def test_accelerate_counts_no_sample_twice_on_several_ranks(tmp_path, ranks):
    needs("accelerate")
    script = tmp_path / "train.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(SUPPORT)!r})\n{ON_RANKS}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", str(ranks), str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-4:] == ["2", "4.0", "9.0", "4.0"]

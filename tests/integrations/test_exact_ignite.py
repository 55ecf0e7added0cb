"""ignite's engines over windows, and a metric that keeps sums and weights."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import batchproof as bp
from batchproof import SettingError

with warnings.catch_warnings():
    # ignite imports a part of torch that compiles with torch.jit.script
    warnings.simplefilter("ignore", DeprecationWarning)
    ignite = pytest.importorskip("ignite.engine", reason="pytorch-ignite is not installed")
    handlers = pytest.importorskip("ignite.handlers", reason="pytorch-ignite is not installed")
    exceptions = pytest.importorskip("ignite.exceptions", reason="pytorch-ignite is not installed")

from batchproof.integrations.ignite import ExactLoss, update

WEIGHTS = torch.tensor([1.0, 5.0, 0.2])
CRITERION = nn.CrossEntropyLoss(WEIGHTS)
PAIRS = bp.exact(CRITERION)


def loss(model, batch):
    return PAIRS(model(batch[0]), batch[1])


def samples(count=11):
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(3, generator=draw), torch.tensor(i % 3)) for i in range(count)]


def net_of():
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    return net, torch.optim.SGD(net.parameters(), lr=0.1)


def whole(net):
    inputs, targets = map(torch.stack, zip(*samples(), strict=True))
    with torch.no_grad():
        return CRITERION(net(inputs), targets).item()


def trained(folder, epochs, *, resume=None):
    """The net after epochs over windows of two batches of two, and the losses that were output."""
    net, optimizer = net_of()
    trainer = ignite.Engine(update(bp.Step(net, optimizer), loss))
    evaluator = ignite.create_supervised_evaluator(net, {"loss": ExactLoss(CRITERION)})
    kept = {"model": net, "optimizer": optimizer, "trainer": trainer}
    saver = handlers.DiskSaver(str(folder), require_empty=False, create_dir=True)
    best = handlers.Checkpoint(
        kept, saver, n_saved=None, global_step_transform=lambda *_: trainer.state.epoch
    )
    losses, values = [], []
    if resume is not None:
        handlers.Checkpoint.load_objects(kept, torch.load(resume, weights_only=True))

    @trainer.on(ignite.Events.ITERATION_COMPLETED)
    def note(engine):
        losses.append(engine.state.output)

    @trainer.on(ignite.Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run(DataLoader(samples(), batch_size=4))
        values.append(evaluator.state.metrics["loss"])

    trainer.add_event_handler(ignite.Events.EPOCH_COMPLETED, best)
    trainer.run(bp.windows(DataLoader(samples(), batch_size=2), accumulate=2), max_epochs=epochs)
    return net, losses, values


def by_hand(epochs):
    net, optimizer = net_of()
    losses = []
    for _ in range(epochs):
        for start in range(0, 11, 4):
            inputs, targets = map(torch.stack, zip(*samples()[start : start + 4], strict=True))
            optimizer.zero_grad()
            value = CRITERION(net(inputs), targets)
            value.backward()
            optimizer.step()
            losses.append(value.item())
    return net, losses


def test_a_whole_training_takes_the_steps_of_whole_windows_and_resumes(tmp_path):
    net, losses, values = trained(tmp_path, 3)
    expected, by_windows = by_hand(3)
    torch.testing.assert_close(net.weight, expected.weight, rtol=2e-6, atol=1e-6)
    assert losses == pytest.approx(by_windows, rel=1e-5)
    assert values[-1] == pytest.approx(whole(net), rel=1e-6)
    (second,) = tmp_path.glob("checkpoint_2.pt")
    resumed, later, _ = trained(tmp_path / "again", 3, resume=second)
    torch.testing.assert_close(resumed.weight, net.weight)
    assert later == losses[6:]


@pytest.mark.parametrize("size", [1, 3, 11])
def test_the_metric_does_not_depend_on_the_batches(size):
    net, _ = net_of()
    evaluator = ignite.create_supervised_evaluator(net, {"loss": ExactLoss(CRITERION)})
    found = evaluator.run(DataLoader(samples(), batch_size=size)).metrics["loss"]
    assert found == pytest.approx(whole(net), rel=1e-6)


def test_the_metric_takes_means_and_is_kept_in_a_checkpoint():
    metric = ExactLoss()
    metric.update(bp.reduce(torch.tensor([1.0, 2.0, 3.0])))
    other = ExactLoss()
    other.load_state_dict(metric.state_dict())
    other.update(bp.reduce(torch.tensor([10.0])))
    assert other.compute() == 4.0
    other.reset()
    with pytest.raises(exceptions.NotComputableError, match="has no sample with a weight"):
        other.compute()


def test_what_is_neither_a_window_nor_a_mean_is_refused():
    step = bp.Step(*net_of())
    with pytest.raises(SettingError, match="the engine's batch is a tuple; expected a window"):
        update(step, loss)(None, (torch.ones(1, 3), torch.zeros(1)))
    with pytest.raises(SettingError, match="and there is no criterion; expected"):
        ExactLoss().update((torch.ones(1, 3), torch.zeros(1)))


ON_RANKS = """
import ignite.distributed as idist
import torch
import batchproof as bp
from batchproof.integrations.ignite import ExactLoss

def run(rank):
    metric = ExactLoss()
    metric.update(bp.reduce(torch.tensor([1.0, 2.0, 3.0, 10.0]).split((3, 1))[rank]))
    assert metric.compute() == 4.0, metric.compute()

if __name__ == "__main__":
    with idist.Parallel(backend="gloo") as parallel:
        parallel.run(run)
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_over_ranks_the_metric_is_one_mean(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(ON_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]

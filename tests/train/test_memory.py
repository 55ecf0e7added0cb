"""A Trainer whose micro-batches do not all fit in memory."""

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof.train import RunFolder

MSE = bp.exact(nn.MSELoss())
X = torch.linspace(-1, 1, 24)[:, None]
BATCHES = [(part, 2 * part) for part in X.split(8)]


class Room:
    """A loss that runs out of memory above some rows while gradients are wanted."""

    def __init__(self, rows):
        self.rows, self.seen = rows, []

    def __call__(self, model, batch):
        if torch.is_grad_enabled():
            self.seen.append(len(batch[0]))
            if len(batch[0]) > self.rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return MSE(model(batch[0]), batch[1])


def fitted(loss, *, batches=BATCHES, epochs=2, resume=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = bp.Trainer(model, loss, optimizer, progress=False, seed=3, **options)
    history = trainer.fit(batches, max_epochs=epochs, resume=resume)
    return history, torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_run_is_that_of_the_smaller_cut_and_its_log_says_what_happened(tmp_path):
    history, ours = fitted(Room(5), out_of_memory="split", run_dir=tmp_path / "run")
    halves = [tuple(t[i : i + 4] for t in batch) for batch in BATCHES for i in (0, 4)]
    _, theirs = fitted(Room(5), batches=halves, accumulate=2)
    assert torch.equal(ours, theirs)
    (notice,) = history.notices
    assert notice.startswith("step 1: a micro-batch of 8 samples did not fit in memory")
    assert "Dropout '1'" in notice
    (event,) = [line for line in RunFolder(tmp_path / "run").timing() if "split in step" in line]
    assert (event["split in step"], event["samples"], event["fits"]) == (1, 8, 4)
    assert "out of memory" in event["reason"]


def test_a_resumed_run_knows_what_fits(tmp_path):
    options = {"out_of_memory": "split", "run_dir": tmp_path / "run"}
    fitted(Room(5), epochs=1, **options)
    room = Room(5)
    _, resumed = fitted(room, resume=True, **options)
    assert max(room.seen) == 4
    _, whole = fitted(Room(5), out_of_memory="split")
    assert torch.equal(resumed, whole)


def test_a_run_that_ended_without_memory_is_resumed_with_split(tmp_path):
    fitted(Room(8), epochs=1, run_dir=tmp_path / "run")
    history, _ = fitted(Room(5), resume=True, out_of_memory="split", run_dir=tmp_path / "run")
    assert len(history.notices) == 1


def test_a_first_batch_that_does_not_fit_even_without_gradient_is_no_error_of_its_own():
    class Less(Room):
        def __call__(self, model, batch):
            with torch.enable_grad():
                return super().__call__(model, batch)

    fitted(Less(5), out_of_memory="split")
    with pytest.raises(torch.OutOfMemoryError):
        fitted(Less(5))


def test_packed_micro_batches_are_not_split():
    with pytest.raises(bp.SettingError, match="a packed micro-batch is one row"):
        fitted(Room(5), out_of_memory="split", tokens=9, pack=True)

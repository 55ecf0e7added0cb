"""A Trainer that recuts each step's samples under a budget of positions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchproof as bp


def padded(sizes, start):
    lengths = torch.tensor(sizes)
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    ids = torch.arange(mask.numel()).view(mask.shape) + start
    return {"ids": torch.where(mask, ids % 50 + 1, 0), "mask": mask}


BATCHES = [padded([2, 9, 1], 0), padded([1, 1, 8], 7), padded([3, 3, 3], 11), padded([9, 1, 1], 23)]
BATCHES += [padded([4, 2, 2], 31)]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(60, 5)
        self.out = nn.Linear(5, 60)
        self.widths = []

    def forward(self, ids):
        self.widths.append(ids.shape[1])
        return self.out(self.embed(ids))


def loss(model, batch):
    losses = F.cross_entropy(model(batch["ids"]).transpose(1, 2), batch["ids"], reduction="none")
    return bp.reduce(losses, mask=batch["mask"])


def fitted(tmp_path=None, epochs=2, resume=None, **options):
    torch.manual_seed(0)
    model = Model().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = bp.Trainer(
        model, loss, optimizer, accumulate=2, progress=False, run_dir=tmp_path, **options
    )
    history = trainer.fit(BATCHES, max_epochs=epochs, resume=resume)
    return model, history


def test_a_budget_changes_neither_the_numbers_nor_the_weights():
    plain, before = fitted()
    recut, after = fitted(tokens=9)
    assert after.values("train_loss") == pytest.approx(before.values("train_loss"), rel=1e-12)
    for one, other in zip(plain.parameters(), recut.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    # the micro-batches are other ones, and padding is gone
    assert recut.widths != plain.widths


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_with_a_budget_resumes_within_an_epoch(tmp_path, steps):
    _, whole = fitted(tmp_path / "whole", tokens=9, checkpoint_every_steps=1)
    torch.manual_seed(0)
    model = Model().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    options = {"accumulate": 2, "progress": False, "tokens": 9, "checkpoint_every_steps": 1}
    half = bp.Trainer(model, loss, optimizer, run_dir=tmp_path / "half", **options)
    half.fit(BATCHES, max_steps=steps)
    _, rest = fitted(tmp_path / "half", tokens=9, checkpoint_every_steps=1, resume=True)
    # the half run also recorded the steps that it took
    assert rest.values("train_loss")[-2:] == whole.values("train_loss")


def test_a_budget_of_another_size_is_another_run(tmp_path):
    fitted(tmp_path / "run", epochs=1, tokens=9)
    with pytest.raises(bp.CheckpointError, match="tokens was 9 and is 18"):
        fitted(tmp_path / "run", tokens=18, resume=True)


def test_a_budget_that_is_no_number_is_refused():
    with pytest.raises(bp.SettingError, match="tokens is 0"):
        fitted(tokens=0)

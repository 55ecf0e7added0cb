"""A small model over ragged sequences, trained from windows of a data set, also as ranks do it."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import batchproof as bp
from batchproof.data import windows_of
from batchproof.step import distributed_group

SIZES = [2, 9, 1, 1, 1, 8, 3, 3, 3, 9, 1, 1, 4, 2, 2, 30, 5]
TEXTS = [torch.arange(size) * 7 % 50 + 1 for size in SIZES]


def collate(samples):
    ids = nn.utils.rnn.pad_sequence(samples, batch_first=True)
    return {"ids": ids, "mask": ids > 0}


def windows(**options):
    options = {"samples": 6, "tokens": 20, "length": SIZES, "collate": collate, **options}
    return windows_of(TEXTS, **options)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(60, 5, dtype=torch.float64)
        self.out = nn.Linear(5, 60, dtype=torch.float64)
        self.shapes = []

    def forward(self, ids):
        self.shapes.append(tuple(ids.shape))
        return self.out(self.embed(ids).cumsum(1))


def loss(model, batch):
    losses = F.cross_entropy(model(batch["ids"]).transpose(1, 2), batch["ids"], reduction="none")
    return bp.reduce(losses, mask=batch["mask"])


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trainer_of(model, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return bp.Trainer(model, loss, optimizer, progress=False, **{"device": "cpu", **options})


def fitted(run_dir=None, *, train=None, **options):
    model = Model()
    fit = {name: options.pop(name) for name in ("max_steps", "resume") if name in options}
    trainer = trainer_of(model, run_dir=run_dir, **options)
    fit = fit if "max_steps" in fit else {"max_epochs": 2, **fit}
    history = trainer.fit(train or windows(), windows(shuffle=False), **fit)
    return model, history


def over_ranks(folder: Path) -> dict:
    found = {}
    with distributed_group("cpu"):
        model, history = fitted()
        names = ("train_padding", "train_padding_before", "val_loss", "train_loss")
        numbers = [[r.total for r in history.epochs(name)] for name in names]
        found["trainer"] = {"weights": flat(model), "numbers": numbers, "passes": len(model.shapes)}
        model = nn.parallel.DistributedDataParallel(Model())
        step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.5))
        drawn = windows()
        for epoch in range(2):
            drawn.set_epoch(epoch)
            for window in drawn:
                step(window, loss)
        found["step"] = {"weights": flat(model)}
    return found


def apart(folder: Path) -> dict:
    with distributed_group("cpu") as place:
        try:
            windows(tokens=20 + place.rank)
        except bp.RankError as error:
            return {"error": str(error)}
    return {"error": ""}

"""Tiny LightningModules, and samples for them."""

import lightning.pytorch as lightning
import torch
from torch import nn

from batchproof.integrations.lightning import Exact


class Classifier(lightning.LightningModule):
    """A small classifier that logs its loss as most do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Number(lightning.LightningModule):
    """A module whose loss is the mean of its batch, so that every number is plain."""

    def __init__(self, *, sync: bool) -> None:
        super().__init__()
        self.sync = sync
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        return batch.mean() + 0 * self.zero

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self(batch), sync_dist=self.sync)


def classified(count: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, generator=draw), torch.randint(3, (), generator=draw)) for _ in range(count)
    ]


def numbers() -> list[torch.Tensor]:
    return [torch.tensor(float(i)) for i in range(9)]


def exact(**settings):
    """Return a Trainer whose windows and logged means are exact."""
    return lightning.Trainer(callbacks=[Exact()], **settings)


class Kept(lightning.Callback):
    """The training losses that are logged, batch by batch."""

    def __init__(self):
        self.logged = []

    def on_train_batch_end(self, trainer, *_):
        if "train_loss" in trainer.callback_metrics:
            self.logged.append(trainer.callback_metrics["train_loss"].item())

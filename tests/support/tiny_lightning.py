"""Tiny LightningModules, and samples for them."""

import lightning.pytorch as lightning
import torch
from torch import nn

import ragged_training
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


class Ragged(lightning.LightningModule):
    """A model over padded sequences, in float64; it logs its loss, and the rows of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ragged_training.Model()
        self.trained = []

    def loss(self, batch):
        targets = batch["ids"].masked_fill(~batch["mask"], -100)
        return nn.functional.cross_entropy(self.net(batch["ids"]).transpose(1, 2), targets)

    def training_step(self, batch, batch_idx):
        self.trained.append(tuple(batch["ids"].shape))
        loss = self.loss(batch)
        self.log("train_loss", loss)
        first = batch["ids"][:, 0].double().mean()
        self.log("first", first, on_step=False, on_epoch=True)
        return {"loss": loss, "rows": len(batch["ids"])}

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def ragged(size=2, sampler=None):
    """Return a loader of the padded sequences."""
    texts = ragged_training.TEXTS
    return torch.utils.data.DataLoader(
        texts, batch_size=size, collate_fn=ragged_training.collate, sampler=sampler
    )


def ragged_by_hand(window, epochs=2):
    """Return the weights and losses of steps over whole windows of padded sequences."""
    module, losses = Ragged(), []
    ([optimizer], [schedule]) = module.configure_optimizers()
    for _ in range(epochs):
        for start in range(0, len(ragged_training.TEXTS), window):
            texts = ragged_training.TEXTS[start : start + window]
            optimizer.zero_grad()
            loss = module.loss(ragged_training.collate(texts))
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            schedule["scheduler"].step()
            losses.append(loss.item())
    return ragged_training.flat(module), losses


class Synced(Classifier):
    """The same, whose number is averaged over ranks by Lightning."""

    def validation_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("val_loss", loss, sync_dist=True)


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
    """The training losses that are logged, batch by batch, and the steps taken at its end."""

    def __init__(self):
        self.logged = []
        self.batches = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.batches.append((batch_idx, trainer.global_step))
        if "train_loss" in trainer.callback_metrics:
            self.logged.append(trainer.callback_metrics["train_loss"].item())

"""Lightning: a LightningModule that logs its losses, Trainer.fit and Trainer.validate.

Progress bar, model summary, logger and checkpoints are off; nothing is written.
"""

import lightning as L
from torch.nn import functional as F

from peers.task import lenet5, sgd


class LeNet5(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = lenet5()

    def training_step(self, batch, _):
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        output = self.model(x)
        self.log("val_loss", F.cross_entropy(output, y))
        self.log("val_accuracy", (output.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return sgd(self.model)


def run(task):
    train, test = task.loaders()
    module = LeNet5()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train)
    found = trainer.validate(module, test, verbose=False)[0]
    return found["val_loss"], found["val_accuracy"]

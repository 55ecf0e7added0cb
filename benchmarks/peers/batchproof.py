"""batchproof's Trainer over batches from memory, as the recipe lenet5 has it; no run folder."""

import torch
from torch import nn

import batchproof as bp
from batchproof.data import Batches, normalise
from peers.task import MEAN, STD, lenet5, sgd


def run(task):
    return fitted(task, lenet5())


def run_channels_last(task):
    return fitted(task, lenet5().to(memory_format=torch.channels_last))


def fitted(task, model):
    how = {"batch_size": task.batch_size, "transform": normalise(MEAN, STD)}
    train = Batches(task.images, task.labels, shuffle=task.shuffle, **how)
    test = Batches(task.test_images, task.test_labels, **how)
    loss = bp.supervised(nn.CrossEntropyLoss(), metrics={"accuracy": bp.accuracy})
    trainer = bp.Trainer(model, loss, sgd(model), device="cpu", progress=False)
    trainer.fit(train, max_epochs=1)
    estimate = trainer.evaluate(test)
    return estimate.value, estimate.metrics["accuracy"].value

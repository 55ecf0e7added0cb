"""Metrics of torchmetrics and torcheval, as they are, over ranks of which some have no batch."""

import importlib
from pathlib import Path

import torch
from torch import nn

import batchproof as bp
from batchproof.data import Batches
from batchproof.step import distributed_group

LOSS = bp.supervised(nn.CrossEntropyLoss())


def answers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of three classes with ties, and targets in which each occurs.

    Of logits, torchmetrics takes those of a batch that are all within 0 and 1 for probabilities.
    """
    generator = torch.Generator().manual_seed(5)
    logits = torch.randint(-2, 3, (count, 3), generator=generator).double()
    return logits.softmax(1), torch.arange(count) % 3


def torchmetrics() -> dict:
    made = importlib.import_module("torchmetrics")
    of = made.classification
    return {
        "f1": of.MulticlassF1Score(3, average="macro"),
        "area": of.MulticlassAUROC(3),
        "both": made.MetricCollection(
            {
                "precision": of.MulticlassPrecision(3, average="macro"),
                "recall": of.MulticlassRecall(3, average="macro"),
                "matrix": of.MulticlassConfusionMatrix(3),
            }
        ),
    }


def torcheval() -> dict:
    of = importlib.import_module("torcheval.metrics")
    return {
        "f1": of.MulticlassF1Score(num_classes=3, average="macro"),
        "area": of.MulticlassAUROC(num_classes=3),
        "matrix": of.MulticlassConfusionMatrix(3),
    }


def scores(package: str, count: int) -> dict:
    loader = Batches(*answers(count), batch_size=2)
    metrics = globals()[package]()
    found = bp.evaluate(nn.Identity(), loader, LOSS, metrics=metrics).scores
    return {name: torch.as_tensor(score.value).double() for name, score in found.items()}


def scored(folder: Path, package: str) -> dict:
    with distributed_group("cpu"):
        return {f"{count}": scores(package, count) for count in (23, 4)}

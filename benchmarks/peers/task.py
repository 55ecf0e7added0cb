"""The task every side is given: images in memory, LeNet-5, its optimiser, one epoch."""

import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

MEAN, STD = 0.1307, 0.3081
LR, MOMENTUM = 0.02, 0.9


@dataclass(frozen=True)
class Task:
    """Images (samples, 1, 28, 28) as uint8, labels as int64, and how they are to be drawn."""

    images: torch.Tensor
    labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    batch_size: int
    shuffle: bool = True

    def first(self, train, test):
        """Return the task with the first few images only."""
        return replace(
            self,
            images=self.images[:train],
            labels=self.labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )

    def loaders(self):
        """Return the quickest loaders of the usual kind: images normalised once, no workers."""
        train = TensorDataset(normalised(self.images), self.labels)
        test = TensorDataset(normalised(self.test_images), self.test_labels)
        return (
            DataLoader(train, batch_size=self.batch_size, shuffle=self.shuffle),
            DataLoader(test, batch_size=self.batch_size),
        )


def read_task(folder, batch_size):
    """Read MNIST's four files, gzipped, without any of the libraries that are measured."""
    return Task(
        images=_read(folder, "train-images-idx3-ubyte", 16).view(-1, 1, 28, 28),
        labels=_read(folder, "train-labels-idx1-ubyte", 8).long(),
        test_images=_read(folder, "t10k-images-idx3-ubyte", 16).view(-1, 1, 28, 28),
        test_labels=_read(folder, "t10k-labels-idx1-ubyte", 8).long(),
        batch_size=batch_size,
    )


def normalised(images):
    """Return images as float32, normalised all at once."""
    return images.float().div_(255).sub_(MEAN).div_(STD)


def lenet5():
    """Return the model of the recipe lenet5, from the same seed each time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def sgd(model):
    """Return the optimiser of the recipe lenet5."""
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)


def _read(folder, name, header):
    content = gzip.decompress((Path(folder) / f"{name}.gz").read_bytes())
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy())

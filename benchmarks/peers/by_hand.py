"""Loops by hand: the usual one with a transform for each sample, and one that slices tensors.

pytorch/examples, mnist/main.py, with the running loss that most copies of it add up.
"""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from peers.task import MEAN, STD, lenet5, sgd


class Digits(Dataset):
    """MNIST as torchvision reads it: a pillow image, ToTensor, Normalize."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.mean, self.std = torch.tensor([MEAN]), torch.tensor([STD])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index, 0].numpy())
        tensor = torch.from_numpy(np.array(image, copy=True)).view(28, 28, 1)
        tensor = tensor.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        tensor = tensor.clone().sub_(self.mean[:, None, None]).div_(self.std[:, None, None])
        return tensor, int(self.labels[index])


def transforms(task):
    train = DataLoader(
        Digits(task.images, task.labels), batch_size=task.batch_size, shuffle=task.shuffle
    )
    test = DataLoader(Digits(task.test_images, task.test_labels), batch_size=task.batch_size)
    return trained(lenet5(), train, test, len(task.test_labels))


def loader(task):
    train, test = task.loaders()
    return trained(lenet5(), train, test, len(task.test_labels))


def slices(task):
    return sliced(task, lenet5())


def slices_channels_last(task):
    return sliced(task, lenet5().to(memory_format=torch.channels_last))


def sliced(task, model):
    count = len(task.labels)
    order = torch.randperm(count) if task.shuffle else torch.arange(count)
    train = batches(task.images, task.labels, order, task.batch_size)
    everything = torch.arange(len(task.test_labels))
    test = batches(task.test_images, task.test_labels, everything, task.batch_size)
    return trained(model, train, test, len(task.test_labels))


def batches(images, labels, order, batch_size):
    for first in range(0, len(order), batch_size):
        index = order[first : first + batch_size]
        yield images[index].float().div_(255).sub_(MEAN).div_(STD), labels[index]


def trained(model, train, test, tested):
    optimizer = sgd(model)
    running = 0.0
    model.train()
    for x, y in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    total, right = 0.0, 0
    model.eval()
    with torch.no_grad():
        for x, y in test:
            output = model(x)
            total += F.cross_entropy(output, y, reduction="sum").item()
            right += output.argmax(1).eq(y).sum().item()
    return total / tested, right / tested

"""Loops by hand: the usual one with a transform for each sample, and one that slices tensors.

pytorch/examples, mnist/main.py, with the running loss that most copies of it add up.
"""

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from peers.task import MEAN, STD, lenet5, sgd
from peers.torchvision import MNIST, Compose, Normalize, ToTensor


def transforms(task):
    return transformed(task, workers=0)


def transforms_two_workers(task):
    return transformed(task, workers=2)


def transformed(task, workers):
    how = {"batch_size": task.batch_size, "num_workers": workers}
    train = DataLoader(digits(task.images, task.labels), shuffle=task.shuffle, **how)
    test = DataLoader(digits(task.test_images, task.test_labels), **how)
    return trained(lenet5(), train, test, len(task.test_labels))


def digits(images, labels):
    transform = Compose([ToTensor(), Normalize((MEAN,), (STD,))])
    return MNIST(images[:, 0], labels, transform)


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

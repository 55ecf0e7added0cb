"""One epoch of LeNet-5 on MNIST, interleaved in one process: Trainer beside loops by hand.

    python benchmarks/epoch.py --data DIR [--quick] [--rounds 5] [--out FILE]

limit        forward, backward and the same optimiser on one batch held in memory, repeated
batchproof   Trainer.fit for one epoch: shuffled, normalised per batch, loss and counts kept
slicing      a loop by hand that slices a shuffled tensor and adds up loss.item()
dataloader   the usual data set of pillow images and DataLoader, with ToTensor and Normalize for
             each sample, call for call as torchvision's, and loss.item(); without workers, and
             with two

The first two are run in both memory formats. Goals: batchproof at most 1.08 times its limit, no
slower than slicing, and at least 2.4 (batch 64) and 2.7 (batch 256) times faster than dataloader.
Takes about 8 minutes.
"""

import time
from functools import partial

import torch
from _measure import summary
from _mnist import measure_on_mnist
from peers.by_hand import digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import batchproof as bp
from batchproof.data import Batches, normalise
from batchproof.recipes.lenet5 import lenet5

MEAN, STD = 0.1307, 0.3081
GOALS = {"of_limit": 1.08, "of_dataloader": {"64": 2.4, "256": 2.7}}


def made(memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    model = lenet5().to(memory_format=memory_format)
    return model, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, fused=True)


def limit(images, labels, batch_size, memory_format):
    model, optimizer = made(memory_format)
    x = images[:batch_size].float().div_(255).to(memory_format=memory_format)
    y = labels[:batch_size]
    for _ in range(-(-len(images) // batch_size)):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def batchproof(images, labels, batch_size, memory_format):
    model, optimizer = made(memory_format)
    train = Batches(
        images, labels, batch_size=batch_size, shuffle=True, transform=normalise(MEAN, STD)
    )
    trainer = bp.Trainer(
        model, bp.supervised(nn.CrossEntropyLoss()), optimizer, device="cpu", progress=False
    )
    trainer.fit(train, max_epochs=1)


def slicing(images, labels, batch_size):
    model, optimizer = made()
    order, running = torch.randperm(len(images)), 0.0
    for first in range(0, len(images), batch_size):
        index = order[first : first + batch_size]
        x = images[index].float().div_(255).sub_(MEAN).div_(STD)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels[index])
        loss.backward()
        optimizer.step()
        running += loss.item()
    return running


def dataloader(images, labels, batch_size, workers):
    model, optimizer = made()
    running = 0.0
    how = {"batch_size": batch_size, "shuffle": True, "num_workers": workers}
    for x, y in DataLoader(digits(images, labels), **how):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return running


SIDES = {
    "limit": partial(limit, memory_format=torch.contiguous_format),
    "batchproof": partial(batchproof, memory_format=torch.contiguous_format),
    "limit, channels last": partial(limit, memory_format=torch.channels_last),
    "batchproof, channels last": partial(batchproof, memory_format=torch.channels_last),
    "slicing": slicing,
    "dataloader": partial(dataloader, workers=0),
    "dataloader, 2 workers": partial(dataloader, workers=2),
}


def timed(side, *arguments):
    start = time.perf_counter()
    side(*arguments)
    return time.perf_counter() - start


def measured(images, labels, batch_size, rounds):
    few = images[: 8 * batch_size], labels[: 8 * batch_size]
    for side in SIDES.values():
        side(*few, batch_size)
    rows = [
        {name: timed(side, images, labels, batch_size) for name, side in SIDES.items()}
        for _ in range(rounds)
    ]
    seconds = {name: [row[name] for row in rows] for name in SIDES}
    # ratios are taken round by round, so that both sides see the same machine
    pairs = {
        "of_limit": ("batchproof", "limit"),
        "of_limit, channels last": ("batchproof, channels last", "limit, channels last"),
        "of_slicing": ("batchproof", "slicing"),
        "dataloader_over": ("dataloader", "batchproof"),
        "dataloader_over, channels last": ("dataloader", "batchproof, channels last"),
        "dataloader_2_workers_over": ("dataloader, 2 workers", "batchproof"),
    }
    ratios = {name: [row[a] / row[b] for row in rows] for name, (a, b) in pairs.items()}
    return {
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "ratios": {name: summary(values) for name, values in ratios.items()},
    }


if __name__ == "__main__":
    measure_on_mnist("epoch", __doc__, measured, GOALS)

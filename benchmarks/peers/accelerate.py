"""accelerate: the loop by hand over a prepared model, optimiser and loaders."""

import torch
from accelerate import Accelerator
from torch.nn import functional as F

from peers.task import lenet5, sgd


def run(task):
    accelerator = Accelerator(cpu=True)
    model = lenet5()
    model, optimizer, train, test = accelerator.prepare(model, sgd(model), *task.loaders())
    running = 0.0
    model.train()
    for x, y in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        running += loss.item()
    total, right = 0.0, 0
    model.eval()
    for x, y in test:
        with torch.no_grad():
            output = model(x)
        output, target = accelerator.gather_for_metrics((output, y))
        total += F.cross_entropy(output, target, reduction="sum").item()
        right += output.argmax(1).eq(target).sum().item()
    return total / len(task.test_labels), right / len(task.test_labels)

"""Engines of ignite over a small classifier, and samples for them."""

import warnings

import torch
from torch import nn

with warnings.catch_warnings():
    # ignite imports a part of torch that compiles with torch.jit.script
    warnings.simplefilter("ignore", DeprecationWarning)
    from ignite import engine as ignite
    from ignite import metrics

CLASS_WEIGHTS = torch.tensor([1.0, 5.0, 0.2])


def weighted(logits, target):
    return nn.functional.cross_entropy(logits, target, CLASS_WEIGHTS.to(logits))


def model():
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def build():
    net = model()
    return net, torch.optim.SGD(net.parameters(), lr=0.1)


def trainer(net, optimizer, accumulate):
    return ignite.create_supervised_trainer(
        net, optimizer, nn.functional.cross_entropy, gradient_accumulation_steps=accumulate
    )


def weighted_evaluator(net):
    return ignite.create_supervised_evaluator(net, {"loss": metrics.Loss(weighted)})


def plain_evaluator(net):
    return ignite.create_supervised_evaluator(
        net, {"loss": metrics.Loss(nn.functional.cross_entropy)}
    )


def samples(count: int = 8):
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, generator=draw), torch.randint(3, (), generator=draw)) for _ in range(count)
    ]

"""Engines of ignite over a small classifier, and samples for them."""

import warnings

import torch
from torch import nn

import batchproof as bp

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


def exact_trainer(net, optimizer, accumulate):
    """An engine over windows of the loader that it is run on."""
    from batchproof.integrations.ignite import update

    loss = bp.supervised(nn.CrossEntropyLoss())
    engine = ignite.Engine(update(bp.Step(net, optimizer), loss))
    run = engine.run
    engine.run = lambda batches, **more: run(
        list(bp.windows(batches, accumulate=accumulate)), **more
    )
    return engine


def exact_evaluator(net, weight=None):
    from batchproof.integrations.ignite import ExactLoss

    return ignite.create_supervised_evaluator(net, {"loss": ExactLoss(nn.CrossEntropyLoss(weight))})


def exact_weighted_evaluator(net):
    return exact_evaluator(net, CLASS_WEIGHTS.double())

"""The settings that a remedy names keep the path of training once the mistake is fixed."""

import re
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from batchproof.check import check_step
from check_cases import doubted

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-3}),
}
MISTAKES = {
    "not-divided": lambda m, b, all_: F.cross_entropy(m(b[0]), b[1]),
    "divided-twice": lambda m, b, all_: F.cross_entropy(m(b[0]), b[1]) / len(all_) ** 2,
    "wrong-divisor": doubted.times_k,
}


def clipped(body, limit):
    """A step that clips the gradient of its window."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for batch in batches:
            body(model, batch, batches).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()

    return run


def path(run, build):
    """Return the parameters after each step over two equal micro-batches, other ones every time."""
    model, optimizer = build()
    draw, points = torch.Generator().manual_seed(0), []
    for _ in range(15):
        batches = [(torch.randn(4, 4, generator=draw), torch.arange(4) % 3) for _ in range(2)]
        run(model, optimizer, batches)
        points.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return torch.stack(points)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_settings_of_a_remedy_keep_the_path(name, mistake):
    optimizer, settings = OPTIMIZERS[name]
    limit = 0.3
    wrong = clipped(MISTAKES[mistake], limit)
    build = partial(doubted.linear, optimizer=optimizer, **settings)
    report = check_step(wrong, doubted.TABLE, build=build)
    assert report.names == (mistake,), str(report)
    remedy = report.diagnoses[0].remedy
    changes = {key: float(value) for key, value in re.findall(r"(\w+)=([\d.e-]+) \(now", remedy)}
    (share,) = re.findall(r"max_norm to ([\d.]+) of what it is", remedy)
    fixed = clipped(doubted.samples_mean, limit * float(share))
    plain = path(wrong, build)
    after = path(fixed, partial(doubted.linear, optimizer=optimizer, **settings | changes))
    assert torch.allclose(plain, after, rtol=1e-4, atol=1e-5)
    as_it_was = path(fixed, build)
    assert not changes or not torch.allclose(plain, as_it_was, rtol=1e-4, atol=1e-5)

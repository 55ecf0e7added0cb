"""DistributedDataParallel with unused parameters, communication hooks and sparse gradients."""

import os
from pathlib import Path

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

import batchproof as bp
import rank_cases
from batchproof.step import distributed_group

ROWS = 7


def bf16(state, bucket):
    """torch's own, which DDP takes by its name only where there is NCCL."""
    return default_hooks.bf16_compress_hook(state, bucket)


HOOKS = {
    "all-reduce": default_hooks.allreduce_hook,
    "bf16": bf16,
    "fp16": default_hooks.fp16_compress_hook,
}


class Branches(nn.Module):
    """One of two layers is used by a batch; by its key."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.left, self.right = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x, branch):
        return getattr(self, branch)(torch.tanh(self.trunk(x)))


class Words(nn.Module):
    """An embedding with sparse gradients before a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ROWS, 3, sparse=True)
        self.out = nn.Linear(3, 1)

    def forward(self, words):
        return self.out(self.embedding(words)).squeeze(-1)


def built(kind: type) -> nn.Module:
    torch.manual_seed(1)
    return kind().double()


def branch_loss(model: nn.Module, batch: tuple) -> bp.Mean:
    x, y, branch = batch
    return bp.reduce((model(x, branch) - y) ** 2)


def word_loss(model: nn.Module, batch: tuple) -> bp.Mean:
    words, y = batch
    return bp.reduce((model(words) - y) ** 2)


def branch_windows() -> list[list[list[tuple]]]:
    """By window and rank: each branch is used by one rank only, by none, or by all."""
    generator = torch.Generator().manual_seed(2)

    def batch(size: int, branch: str) -> tuple:
        x, y = (torch.randn(size, n, generator=generator, dtype=torch.float64) for n in (3, 1))
        return x, y, branch

    return [
        [[batch(3, "left")], [batch(2, "right"), batch(1, "right")]],
        [[batch(2, "left")], [batch(4, "left")]],
        [[], [batch(2, "right")]],
    ]


def word_windows() -> list[list[list[tuple]]]:
    generator = torch.Generator().manual_seed(3)

    def batch(*words: int) -> tuple:
        row = torch.tensor(words)[:, None]
        return row, torch.randn(len(words), 1, generator=generator, dtype=torch.float64)

    return [
        [[batch(0, 1, 1)], [batch(1, 5), batch(5)]],
        [[batch(2), batch(2, 3)], []],
        [[batch(6)], [batch(0, 6)]],
    ]


CASES = {
    "unused": (Branches, branch_loss, branch_windows),
    "sparse": (Words, word_loss, word_windows),
}


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.3)


def stepped(case: str, wrapper: str, rank: int) -> torch.Tensor:
    kind, loss, windows = CASES[case]
    model = built(kind)
    if wrapper == "ddp":
        unused = case == "unused"
        model = nn.parallel.DistributedDataParallel(model, find_unused_parameters=unused)
    step = bp.Step(model, optimizer_of(model), max_grad_norm=0.5)
    for ranks in windows():
        step(ranks[rank], loss)
    return rank_cases._flat(model.parameters())


def alone(case: str) -> torch.Tensor:
    """One process and one window of all micro-batches."""
    kind, loss, windows = CASES[case]
    model = built(kind)
    step = bp.Step(model, optimizer_of(model), max_grad_norm=0.5)
    for ranks in windows():
        step([batch for rank in ranks for batch in rank], loss)
    return rank_cases._flat(model.parameters())


def with_frozen_layers(wrapper: str, rank: int | None) -> torch.Tensor:
    """The first layer, under FSDP2 sharded on its own, has nothing to train."""
    case = rank_cases.Case(wrapper, "empty", 3, clip=True, terms=1)
    model = rank_cases.model_of(torch.float64)
    model[0].requires_grad_(False)
    if rank is not None:
        model = rank_cases.wrapped(model, wrapper)
    step = bp.Step(model, optimizer_of(model), max_grad_norm=0.05)
    for ranks in rank_cases.data_of(case, 2):
        whole = [batch for each in ranks for batch in each]
        step(whole if rank is None else ranks[rank], rank_cases.loss)
    return rank_cases._flat(model.parameters())


def hooked(hook, rank: int, state=None) -> torch.Tensor:
    case = rank_cases.Case("ddp", "uneven", 3, clip=False, terms=1, dtype="float32")
    model = nn.parallel.DistributedDataParallel(rank_cases.model_of(torch.float32))
    model.register_comm_hook(state, hook)
    step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.5))
    step(rank_cases.data_of(case, 2)[0][rank], rank_cases.loss)
    return rank_cases._flat([p.grad for p in model.parameters()])


def summing(state, bucket):
    """A hook that sums, and does not divide by the number of ranks."""
    del state
    work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def halving(state, bucket):
    """A hook that scales gradients by what no wrapper has."""
    return summing(state, bucket).then(lambda done: done.value() * 0.3)


def refused(hook, rank: int, state=None) -> str:
    try:
        hooked(hook, rank, state)
    except bp.SettingError as error:
        return str(error)
    return ""


def all_of(folder: Path) -> dict:
    rank = int(os.environ["RANK"])
    with distributed_group("cpu"):
        power = powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=2)
        return {
            **{f"{case} {w}": stepped(case, w, rank) for case in CASES for w in ("bare", "ddp")},
            **{f"frozen {w}": with_frozen_layers(w, rank) for w in rank_cases.WRAPPERS},
            **{name: hooked(hook, rank) for name, hook in HOOKS.items()},
            "summing": hooked(summing, rank),
            "halving": refused(halving, rank),
            "powerSGD": refused(powerSGD_hook.powerSGD_hook, rank, power),
        }

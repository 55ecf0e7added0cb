"""One step over several ranks against one process and one batch: the grid, and its oracle."""

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import nn

import batchproof as bp

WRAPPERS = ("bare", "ddp", "fsdp")
SPREADS = ("even", "uneven", "empty")
WINDOWS = 3


@dataclass(frozen=True)
class Case:
    wrapper: str
    spread: str
    accumulate: int
    clip: bool
    terms: int
    dtype: str = "float64"
    sizes: tuple = ()
    optimizer: str = "sgd"

    def __str__(self) -> str:
        clip = "clipped" if self.clip else "whole"
        parts = [self.wrapper, self.spread, f"by-{self.accumulate}", clip, f"{self.terms}-terms"]
        return "-".join([*parts, self.dtype, self.optimizer])


def grid() -> list[Case]:
    axes = itertools.product(WRAPPERS, SPREADS, (1, 3), (False, True), (1, 2))
    cases = [Case(*axis) for axis in axes]
    single = [Case(w, "uneven", 3, True, t, "float32") for w in WRAPPERS for t in (1, 2)]
    axes = itertools.product(("bare", "ddp"), ("uneven", "empty"), (3,), (False,), (1, 2))
    return [*cases, *single, *(Case(*axis, optimizer="lbfgs") for axis in axes)]


def ragged(cuts: list) -> list[Case]:
    """A case for each drawn cut: sizes of micro-batches by window and rank, 0 among them."""
    axes = itertools.cycle(itertools.product(WRAPPERS, (1, 3), (False, True), (1, 2)))
    return [
        Case(wrapper, f"drawn-{index}", accumulate, clip, terms, sizes=cut)
        for index, (cut, (wrapper, accumulate, clip, terms)) in enumerate(
            zip(cuts, axes, strict=False)
        )
    ]


def model_of(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Linear(3, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 5), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(5, 2)).to(dtype)


@functools.cache
def mesh_of_all(device: str):
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device, (torch.distributed.get_world_size(),))


def wrapped(model: nn.Module, wrapper: str) -> nn.Module:
    if wrapper == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if wrapper == "fsdp":
        from torch.distributed.fsdp import fully_shard

        mesh = mesh_of_all(next(model.parameters()).device.type)
        fully_shard(model[0], mesh=mesh)
        fully_shard(model[2], mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def sizes_of(case: Case, world: int) -> list[list[list[int]]]:
    """The sizes of micro-batches: one list per window, in it one list per rank."""
    if case.sizes:
        return case.sizes
    windows = []
    for window in range(WINDOWS):
        ranks = []
        for rank in range(world):
            if case.spread == "even":
                sizes = [2] * case.accumulate
            else:
                count = 1 + (rank + window) % case.accumulate
                sizes = [1 + (3 * rank + 2 * m + window) % 4 for m in range(count)]
            # rank 0 has nothing at first, the last one later, nobody at the end
            without = case.spread == "empty" and rank == (0, world - 1, rank)[window]
            ranks.append([] if without else sizes)
        windows.append(ranks)
    return windows


def data_of(case: Case, world: int) -> list[list[list[dict]]]:
    generator = torch.Generator().manual_seed(11)
    dtype = getattr(torch, case.dtype)

    def batch(size: int) -> dict:
        return {
            "x": torch.randn(size, 3, generator=generator, dtype=dtype),
            "y": torch.randn(size, 2, generator=generator, dtype=dtype),
            "mask": torch.rand(size, 2, generator=generator) < 0.7,
            "weight": torch.rand(size, generator=generator).to(dtype) + 0.5,
        }

    return [[[batch(size) for size in sizes] for sizes in ranks] for ranks in sizes_of(case, world)]


def loss(model: nn.Module, batch: dict) -> bp.Mean:
    squares = (model(batch["x"]) - batch["y"]) ** 2
    return bp.reduce(squares, mask=batch["mask"])


def two_losses(model: nn.Module, batch: dict) -> dict:
    away = model(batch["x"]) - batch["y"]
    return {
        "squares": bp.reduce(away**2, mask=batch["mask"]),
        "sides": bp.reduce(away.abs(), unit="sample", weight=batch["weight"]),
    }


COEFFICIENTS = {"sides": 0.3}


def count(batch: dict) -> dict:
    return {"squares": batch["mask"].sum(), "sides": batch["weight"].double().sum()}


def oracle(case: Case, model: nn.Module, batches: list[dict]) -> torch.Tensor:
    """The objective on all samples of a window at once, in plain torch."""
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    away = model(whole["x"]) - whole["y"]
    value = _over((away**2)[whole["mask"]].sum(), whole["mask"].sum())
    if case.terms == 2:
        weight = whole["weight"]
        value = value + 0.3 * _over((away.abs().mean(1) * weight).sum(), weight.sum())
    return value


def _over(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # a term over nothing adds nothing
    return total / weight if weight else total


def counts_nothing(case: Case, batches: list[dict]) -> bool:
    """Whether no term of the objective has any weight in these batches."""
    key = "mask" if case.terms == 1 else "weight"
    return not any(batch[key].any() for batch in batches)


def reference(case: Case, data: list[list[list[dict]]]) -> list[dict]:
    """What one process and one batch give: after each window loss, norm and parameters."""
    model = model_of(getattr(torch, case.dtype))
    optimizer = optimizer_of(case, model)
    limit = 0.05 if case.clip else float("inf")
    results = []
    for ranks in data:
        batches = [batch for rank in ranks for batch in rank]
        if counts_nothing(case, batches):
            results.append({"skipped": True, "parameters": _flat(model.parameters())})
            continue
        norms = []

        def evaluate(batches=batches, norms=norms) -> torch.Tensor:
            optimizer.zero_grad()
            value = oracle(case, model, batches)
            value.backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), limit))
            return value

        value = optimizer.step(evaluate)
        results.append(
            {
                "skipped": False,
                "loss": value.detach().double(),  # type: ignore[attr-defined]
                "norm": norms[0].double(),
                "parameters": _flat(model.parameters()),
            }
        )
    return results


def optimizer_of(case: Case, model: nn.Module) -> torch.optim.Optimizer:
    if case.optimizer == "lbfgs":
        return torch.optim.LBFGS(model.parameters(), lr=0.3, max_iter=4)
    return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)


def ours(case: Case, data: list[list[list[dict]]], rank: int, *, device: str = "cpu") -> list[dict]:
    """What this rank sees of the same windows, each cut over micro-batches and ranks."""
    model = wrapped(model_of(getattr(torch, case.dtype)).to(device), case.wrapper)
    step = bp.Step(
        model,
        optimizer_of(case, model),
        max_grad_norm=0.05 if case.clip else None,
        coefficients=COEFFICIENTS if case.terms == 2 else None,
        count=None if case.terms == 1 else count if case.accumulate == 1 else "forward",
    )
    results = []
    for ranks in data:
        window = [{k: v.to(device) for k, v in batch.items()} for batch in ranks[rank]]
        result = step(window, two_losses if case.terms == 2 else loss)
        seen = {"skipped": result.skipped, "parameters": _flat(model.parameters())}
        if not result.skipped:
            seen["loss"] = result.loss.value().double().cpu()
            seen["norm"] = result.grad_norm.double().cpu()
        results.append(seen)
    return results


def _flat(parameters) -> torch.Tensor:
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in parameters]
    return torch.cat([p.detach().double().cpu().flatten() for p in whole])

"""One window over two ranks in a narrow precision, beside the same samples uncut and in float64."""

import itertools
from contextlib import nullcontext

import torch
from torch import nn

import batchproof as bp
import rank_cases

RANKS = 2
# three micro-batches on one rank, one on the other
SIZES = [[5, 3, 6], [2]]
PRECISIONS = ("autocast", "bfloat16", "scaled")
CASES = tuple(map("-".join, itertools.product(rank_cases.WRAPPERS, PRECISIONS, ("1", "2"))))


def model_of(precision: str) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Linear(16, 24), nn.Tanh(), nn.Sequential(nn.Linear(24, 24), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(24, 4))
    # every model starts from numbers that bfloat16 holds
    return model.bfloat16().to(dtype_of(precision))


def dtype_of(precision: str) -> torch.dtype:
    return {"bfloat16": torch.bfloat16, "float64": torch.float64}.get(precision, torch.float32)


def batches_of(precision: str) -> list[list[dict]]:
    generator = torch.Generator().manual_seed(7)

    def batch(size: int) -> dict:
        x, y = (torch.randn(size, n, generator=generator).bfloat16() for n in (16, 4))
        return {
            "x": x.to(dtype_of(precision)),
            "y": y.to(dtype_of(precision)),
            "mask": torch.rand(size, 4, generator=generator) < 0.7,
            "weight": torch.rand(size, generator=generator) + 0.5,
        }

    return [[batch(size) for size in sizes] for sizes in SIZES]


def computing_in(precision: str):
    dtype = {"autocast": torch.bfloat16, "scaled": torch.float16}.get(precision)
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)


def uncut(case: str, precision: str) -> torch.Tensor:
    """The gradient of all samples at once in plain torch, in the given precision."""
    terms = int(case.split("-")[2])
    model = model_of(precision)
    batches = [batch for rank in batches_of(precision) for batch in rank]
    oracle = rank_cases.Case("bare", "even", 1, clip=False, terms=terms)
    with computing_in(precision):
        value = rank_cases.oracle(oracle, model, batches)
    value.backward()
    return torch.cat([p.grad.double().flatten() for p in model.parameters()])


def ours(case: str, rank: int) -> dict:
    """The gradient over two ranks, and what a scaler makes of an overflow on one of them."""
    wrapper, precision, terms = case.split("-")
    model = rank_cases.wrapped(model_of(precision), wrapper)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if precision == "scaled" else None
    step = bp.Step(
        model,
        torch.optim.SGD(model.parameters(), lr=0.5),
        coefficients=rank_cases.COEFFICIENTS if terms == "2" else None,
        count="forward" if terms == "2" else None,
        scaler=scaler,
    )
    chosen = rank_cases.two_losses if terms == "2" else rank_cases.loss

    def loss(model: nn.Module, batch: dict) -> bp.Mean | dict:
        with computing_in(precision):
            return chosen(model, batch)

    batches = batches_of(precision)[rank]
    step(batches, loss)
    seen = {"gradient": _flat([p.grad for p in model.parameters()])}
    if scaler is not None:
        before = _flat(model.parameters())
        # gradients of float16 end at 65504, on one rank
        far = [batch | {"y": batch["y"] - 1e6 * rank} for batch in batches]
        overflowed = step(far, loss)
        seen |= {
            "skipped": overflowed.skipped,
            "moved": (_flat(model.parameters()) - before).abs().max(),
            "scale": scaler.get_scale(),
        }
    return seen


def _flat(tensors) -> torch.Tensor:
    whole = [t.full_tensor() if hasattr(t, "full_tensor") else t for t in tensors]
    return torch.cat([t.detach().double().flatten() for t in whole])

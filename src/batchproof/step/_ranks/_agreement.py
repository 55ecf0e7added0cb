"""Checks that ranks may train together, before they do."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from batchproof._errors import RankError, SettingError
from batchproof.ranks import Group
from batchproof.step._ranks._layout import pack
from batchproof.step._ranks._wrappers import Wrapper

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def describe(model: Any, parameters: Sequence[Tensor], *, values: bool) -> Iterator[str]:
    """Yield a line per parameter: name, shape and dtype, and a digest of values where asked."""
    pairs: list[tuple[str, Tensor]] = [(f"parameter {i}", p) for i, p in enumerate(parameters)]
    if isinstance(model, nn.Module):
        pairs = list(model.named_parameters())
    for name, parameter in pairs:
        line = f"{name} {tuple(parameter.shape)} {parameter.dtype}"
        line += "" if parameter.requires_grad else " frozen"
        yield f"{line} values {_checksum(parameter)}" if values else line


def compare(group: Group, lines: Sequence[str]) -> None:
    """Refuse ranks that do not train the same; every rank calls it.

    Raises:
        RankError: if two ranks differ; it shows the first line in which they do.
    """
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    digests = group.gather(digest)
    other = next((rank for rank, theirs in enumerate(digests) if theirs != digests[0]), None)
    if other is None:
        return
    everyone = group.gather(list(lines) if group.rank in {0, other} else [])
    first, second = everyone[0], everyone[other]
    longest = max(len(first), len(second))
    first, second = _padded(first, longest), _padded(second, longest)
    one, two = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
    raise RankError(
        f"rank 0 and rank {other} do not train the same: rank 0 has {one}, rank {other} has {two}; "
        "build model, optimiser and Step alike on every rank, with the same seed or state."
    )


def factor_of(wrapper: Wrapper) -> float:
    """Return the factor that the wrapper multiplies the sum over ranks by.

    Rank 0 back-propagates 1 to one element, the others 0; what all ranks then hold of
    it is the factor.

    Raises:
        SettingError: if it is neither 1, nor 1 / world, nor 1 over a whole number.
    """
    group = wrapper.group
    size = group.size
    gradient = wrapper.probe(1.0 if group.rank == 0 else 0.0)
    sums = pack([gradient], group.device)
    group.sum(sums)
    factor = sums.item() / (1 if wrapper.sharded else size)
    if factor > 0:
        for whole in (1, size, round(1 / factor)):
            # reduced in bfloat16, a third is off by a 400th
            if whole and abs(factor * whole - 1) < 0.01:
                return 1.0 / whole
    raise SettingError(
        f"{wrapper.name} turns a gradient of 1 on one of {size} ranks into {factor:g}; "
        f"expected 1 or 1/{size}. Look for a communication hook that scales gradients."
    )


def expect_reduced(wrapper: Wrapper, parameters: Iterable[Tensor]) -> None:
    """Refuse an optimiser with parameters whose gradients the wrapper does not sum.

    Raises:
        SettingError: if it has any.
    """
    in_wrapper = set(wrapper.reduced())
    apart = [p for p in parameters if p.requires_grad and p not in in_wrapper]
    if apart:
        raise SettingError(
            f"the optimiser has {len(apart)} parameters (the first of shape "
            f"{tuple(apart[0].shape)}) that {wrapper.name} does not hold; their "
            "gradients would differ between ranks. Put them inside the wrapped model."
        )


def expect_as_often(group: Group, passes: int, *, closed: bool) -> None:
    """Refuse a window in which ranks call backward(mean) unequally often.

    Only on the CPU, where gloo would abort: elsewhere the answer would have to be awaited.

    Args:
        group: the ranks.
        passes: the number of calls of this rank so far.
        closed: whether this rank makes no further one in this window.

    Raises:
        RankError: if another rank makes one while this one closes the window, or reversed.
    """
    if group.device.type != "cpu":
        return
    everyone = group.gather((passes, closed))
    if len(set(everyone)) > 1:
        counts = ", ".join(
            f"{n} times on rank {rank}" if over else f"{n + 1} times or more on rank {rank}"
            for rank, (n, over) in enumerate(everyone)
        )
        raise RankError(
            f"backward(mean) was called {counts}; every rank calls it as often in each window. "
            "Hand whole windows to step(window, loss), which evens them out."
        )


def expect_as_many(micro_batches: Sequence[int]) -> None:
    """Refuse a window of unequal micro-batches where the forward pass makes collectives itself.

    Raises:
        RankError: if ranks have unequal numbers of them.
    """
    if len(set(micro_batches)) > 1:
        counts = ", ".join(f"rank {rank} has {n}" for rank, n in enumerate(micro_batches))
        raise RankError(
            "the model or the loss makes collectives of its own, such as all_reduce, which every "
            f"rank has to make as often, but of micro-batches of this window {counts}. Give all "
            "ranks as many, or make these collectives outside of the forward pass."
        )


class OwnCollectives:
    """The collectives that a model or its loss makes itself, on the group of its wrapper.

    Under gloo, where one that meets another of another rank aborts both processes.

    Args:
        group: the wrapper's group.
        told_apart: whether `pause` is called before the wrapper makes collectives, too.

    Attributes:
        has_any: whether there was any.
    """

    def __init__(self, group: Group, *, told_apart: bool) -> None:
        self._group = group.process_group
        gloo = group.device.type == "cpu" and "gloo" in str(distributed.get_backend(self._group))
        self._counts = gloo and told_apart
        self._before: int | None = None
        self.has_any = False

    def resume(self) -> None:
        """Count from here on."""
        self._before = self._number()

    def pause(self) -> None:
        """Count up to here; what a wrapper makes next is not counted."""
        if self._before is not None:
            self.has_any = self.has_any or self._number() != self._before
            self._before = None

    def forget(self) -> None:
        """Count nothing until it is resumed."""
        self._before = None

    def _number(self) -> int | None:
        if not self._counts:
            return None
        group: Any = self._group
        return int(group._get_sequence_number_for_group())  # noqa: SLF001


def _padded(lines: list[str], length: int) -> list[str]:
    return lines + ["nothing more"] * (length - len(lines))


def _checksum(parameter: Tensor) -> int:
    flat = parameter.detach().contiguous()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    whole = flat.flatten().view(_WHOLE[flat.element_size()])
    return int(whole.sum(dtype=torch.int64).item())

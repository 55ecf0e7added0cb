"""Changes of a gradient between two checks, read off a few of its numbers.

The sentinels are the first numbers of a few gradients. Gone, or multiplied by 0, is zeroed;
multiplied by r is scaled, whoever did it: a loss scaler, a division by hand, clipping. With v
before and u after, of all sentinels together,

    r = <v, u> / <v, v>          rest = |u - r v|^2 / |u|^2

and a rest above the level of arithmetic says that it was not a factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batchproof.ranks import local
from batchproof.watch._reads import Reads

MOST = 2
LENGTH = 1024
NUMPYS = (torch.float32, torch.float64, torch.float16)


@dataclass(slots=True)
class Factor:
    """The factor on every micro-batch in a gradient; nan until it is read."""

    value: float = float("nan")
    rest: float = 0.0
    eps: float = 0.0


@dataclass(slots=True)
class Sentinel:
    """A gradient at one moment: its tensor, version, and a copy of its first elements.

    The copy is bytes on the CPU, which compare in no time.
    """

    parameter: Tensor
    gradient: Tensor
    version: int
    copy: Tensor | bytes

    def is_as_it_was(self, *, thorough: bool) -> bool:
        """Return whether nothing wrote to the gradient.

        Args:
            thorough: also look for what was written through `.data`, which counts no version. On
                the CPU it is always looked for.
        """
        gradient = self.gradient
        there = self.parameter.grad
        if there is None or gradient._version != self.version:  # noqa: SLF001
            return False
        if there is not gradient and local(there) is not gradient:
            return False
        if not gradient.is_cpu:
            return not thorough
        now = _copy(gradient)
        if isinstance(now, bytes):
            return now == self.copy
        return isinstance(self.copy, Tensor) and torch.equal(now, self.copy)

    def numbers(self) -> Tensor:
        """Return the first elements as they were, in float64, shape (elements,)."""
        copy = self.copy
        if isinstance(copy, bytes):
            copy = torch.frombuffer(bytearray(copy), dtype=self.gradient.dtype)
        return copy.double()


class Sentinels:
    """A few gradients at one moment.

    Args:
        reads: the numbers that wait to be read.
    """

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self._sentinels: list[Sentinel] = []

    def place(self, parameters: Sequence[Tensor]) -> None:
        """Remember a few gradients, those of the last parameters that have one."""
        sentinels: list[Sentinel] = []
        for parameter in reversed(parameters):
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                continue
            if type(gradient) is not Tensor:
                # of a gradient that is spread over ranks, the part that is here
                gradient = local(gradient)
            if type(gradient) is not Tensor or not gradient.is_contiguous():
                continue
            version = gradient._version  # noqa: SLF001
            sentinels.append(Sentinel(parameter, gradient, version, _copy(gradient)))
            if len(sentinels) == MOST:
                break
        self._sentinels = sentinels

    def forget(self) -> None:
        """Drop the gradients."""
        self._sentinels = []

    def are_gone(self) -> bool:
        """Return whether every gradient is None."""
        for sentinel in self._sentinels:  # noqa: SIM110  a generator is slower
            if sentinel.parameter.grad is not None:
                return False
        return True

    def are_as_they_were(self, *, thorough: bool) -> bool:
        """Return whether nothing wrote to any of them.

        Args:
            thorough: also look for what was written through `.data`.
        """
        for sentinel in self._sentinels:  # noqa: SIM110  a generator is slower
            if not sentinel.is_as_it_was(thorough=thorough):
                return False
        return True

    def factor(self) -> Factor:
        """Return the factor on the gradients since they were remembered."""
        factor = Factor()
        factor.eps = max((torch.finfo(s.gradient.dtype).eps for s in self._sentinels), default=0.0)
        sums: tuple[Tensor, Tensor, Tensor] | None = None
        for sentinel in self._sentinels:
            gradient = sentinel.parameter.grad
            v = sentinel.numbers()
            u = torch.zeros_like(v) if gradient is None else _head(gradient, v)
            parts = v.dot(v), v.dot(u), u.dot(u)
            if sums is not None:
                parts = sums[0] + parts[0], sums[1] + parts[1], sums[2] + parts[2]
            sums = parts
        if sums is None:
            factor.value = 1.0
            return factor
        vv, vu, uu = sums
        ratio = torch.where(vv > 0, vu / vv, 1.0)
        rest = torch.where(uu > 0, (uu - ratio * ratio * vv).abs() / uu, 0.0)
        self.reads.into(ratio, factor, "value")
        self.reads.into(rest, factor, "rest")
        return factor


def _copy(gradient: Tensor) -> Tensor | bytes:
    """Return the first elements of a contiguous gradient, as bytes where numpy has its type."""
    if gradient.dtype in NUMPYS and gradient.is_cpu and not gradient.requires_grad:
        numbers = gradient.numpy()
        return (numbers if numbers.size <= LENGTH else numbers.ravel()[:LENGTH]).tobytes()
    return gradient.detach().view(-1)[:LENGTH].clone()


def _head(gradient: Tensor, like: Tensor) -> Tensor:
    return local(gradient).detach().reshape(-1)[: len(like)].double()

"""Changes of a gradient between two checks, read off a few of its numbers.

The sentinels are the first numbers of a few gradients. Gone, or multiplied by 0, is zeroed;
multiplied by r is scaled, whoever did it: a loss scaler, a division by hand, clipping. With v
before and u after, of all sentinels together,

    r = <v, u> / <v, v>          rest = |u - r v|^2 / |u|^2

and a rest above the level of arithmetic says that it was not a factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
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

    Attributes:
        parameter: has the gradient.
        gradient: the tensor itself.
        version: counts the writes to it.
        address: of its memory, which assigning to `.data` changes.
        head: its first elements as an array that sees later writes; None where numpy has none.
        copy: the first elements as they were; bytes where there is a head, for they compare fast.
    """

    parameter: Tensor
    gradient: Tensor
    version: int
    address: int
    head: NDArray[Any] | None
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
        if self.head is not None and gradient.data_ptr() == self.address:
            return self.head.tobytes() == self.copy
        if not gradient.is_cpu:
            return not thorough
        return torch.equal(_first(gradient).double(), self.numbers())

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
            head = _head_of(gradient)
            copy = _first(gradient).clone() if head is None else head.tobytes()
            address = gradient.data_ptr()
            sentinels.append(Sentinel(parameter, gradient, version, address, head, copy))
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


def _head_of(gradient: Tensor) -> NDArray[Any] | None:
    """Return the first elements of a contiguous gradient as an array on its memory, if possible."""
    if not gradient.is_cpu or gradient.requires_grad or gradient.dtype not in NUMPYS:
        return None
    numbers = gradient.numpy()
    return numbers if numbers.size <= LENGTH else numbers.ravel()[:LENGTH]


def _first(gradient: Tensor) -> Tensor:
    return gradient.detach().reshape(-1)[:LENGTH]


def _head(gradient: Tensor, like: Tensor) -> Tensor:
    return local(gradient).detach().reshape(-1)[: len(like)].double()

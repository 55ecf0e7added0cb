"""The numbers that ranks send each other about a window, in an order agreed on once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batchproof._errors import RankError, SettingError
from batchproof.mean import Mean, Unit
from batchproof.step._number import Number, number

# whole numbers up to 2 ** 53 are exact in float64, so that many bits travel in one number
BITS = 53

Units = Mapping[str, Unit]


@dataclass(frozen=True, slots=True)
class Layout:
    """The names and units of terms and metrics, in the order in which they are sent.

    Attributes:
        terms: the unit of each term.
        metrics: the unit of each metric.
    """

    terms: Units
    metrics: Units

    @classmethod
    def of(cls, terms: Mapping[str, Mean], metrics: Mapping[str, Mean]) -> "Layout":
        """Return the layout of a loss's result."""
        return cls({k: m.unit for k, m in terms.items()}, {k: m.unit for k, m in metrics.items()})

    def expect(self, terms: Mapping[str, Mean], metrics: Mapping[str, Mean]) -> None:
        """Refuse terms or metrics that the ranks have not agreed on.

        Raises:
            SettingError: if there are any.
        """
        for units, means in ((self.terms, terms), (self.metrics, metrics)):
            for name, mean in means.items():
                if units.get(name) != mean.unit:
                    raise SettingError(
                        f"the loss returned {name!r} over {mean.unit!r}, which ranks have not "
                        f"agreed on; their first windows had {self}. Return the same terms and "
                        "metrics from every batch."
                    )

    def numbers(
        self, terms: Mapping[str, Mean], metrics: Mapping[str, Mean], device: torch.device
    ) -> list[Number]:
        """Return totals and weights in order; 0 where this rank has none."""
        numbers: list[Number] = []
        for units, means in ((self.terms, terms), (self.metrics, metrics)):
            for name in units:
                mean = means.get(name)
                numbers += [0.0, 0.0] if mean is None else _pair(mean, device)
        return numbers

    def means(self, numbers: Sequence[Tensor]) -> tuple[dict[str, Mean], dict[str, Mean]]:
        """Return terms and metrics from totals and weights in order."""
        pairs = iter(zip(numbers[::2], numbers[1::2], strict=False))
        terms = {k: Mean(*next(pairs), unit) for k, unit in self.terms.items()}
        metrics = {k: Mean(*next(pairs), unit) for k, unit in self.metrics.items()}
        return terms, metrics

    def __str__(self) -> str:
        texts = [f"{name!r} over {unit!r}" for name, unit in (self.terms | self.metrics).items()]  # type: ignore[operator]
        return " and ".join(texts)


def agreed(layouts: Iterable[Layout | None]) -> Layout | None:
    """Return the layout of all ranks that have one; None if none has.

    Raises:
        RankError: if two ranks have different ones.
    """
    by_rank = {rank: layout for rank, layout in enumerate(layouts) if layout is not None}
    if not by_rank:
        return None
    first_rank, first = next(iter(by_rank.items()))
    for rank, layout in by_rank.items():
        if layout != first:
            raise RankError(
                f"ranks have different losses: rank {first_rank} returns {first}, rank {rank} "
                f"{layout}; return the same terms, metrics and units on every rank."
            )
    return first


def pack(numbers: Sequence[Number], device: torch.device) -> Tensor:
    """Return numbers as one float64 tensor on a device, without a host read."""
    if not any(isinstance(each, Tensor) for each in numbers):
        return torch.tensor(numbers, dtype=torch.float64, device=device)
    # filled on the device, so that nothing waits
    each = [
        n.to(device, torch.float64)
        if isinstance(n, Tensor)
        else torch.full((), n, dtype=torch.float64, device=device)
        for n in numbers
    ]
    return torch.stack(each)


def mark_of(rank: int, size: int) -> float:
    """Return a rank's mark; from the sum of marks ranks_named finds the ranks that sent one.

    Up to 53 ranks each has a bit. Beyond, each sends size ** 2 + rank: the sum of c of them is
    c size ** 2 + (sum of their ranks), where the second part is below size ** 2. It is a whole
    number below 2 ** 53 for up to 200,000 ranks, so that float64 adds it exactly in any order.
    """
    return float(2**rank if size <= BITS else size**2 + rank)


def marked(rank: int, size: int) -> list[float]:
    """Return a rank's marks; from the sums of marks ranks_in finds the ranks that sent them.

    Each rank has a bit, in as many numbers as needed.

    Examples:
        >>> marked(1, 3)
        [2.0]
    """
    words = [0.0] * ((size + BITS - 1) // BITS)
    words[rank // BITS] = float(2 ** (rank % BITS))
    return words


def ranks_in(words: Sequence[Number]) -> list[int]:
    """Return the ranks that sent the numbers of marked, read on the host.

    Examples:
        >>> ranks_in([a + b for a, b in zip(marked(2, 60), marked(59, 60))])
        [2, 59]
    """
    bits = enumerate(int(each) for each in words)
    return [
        BITS * n + bit for n, word in bits for bit in range(word.bit_length()) if word >> bit & 1
    ]


def ranks_named(marks: Number, size: int) -> str:
    """Return the ranks whose marks were added, in words; beyond 53 ranks how many, if several.

    Examples:
        >>> ranks_named(5.0, 4)
        'rank 0 and rank 2'
        >>> ranks_named(mark_of(4711, 10_000), 10_000)
        'rank 4711'
        >>> ranks_named(mark_of(4711, 10_000) + mark_of(8, 10_000), 10_000)
        '2 of 10000 ranks'
    """
    whole = int(marks)
    if size <= BITS:
        return " and ".join(f"rank {rank}" for rank in range(size) if whole >> rank & 1)
    count, ranks = divmod(whole, size**2)
    return f"rank {ranks}" if count == 1 else f"{count} of {size} ranks" if count else ""


def _pair(mean: Mean, device: torch.device) -> list[Number]:
    if device.type == "cpu":
        # such a tensor is waited for in any case
        return [mean.total.item(), mean.weight.item()]
    return [number(mean.total), number(mean.weight)]

"""Micro-batches in the gradient of one optimiser, and the factors that multiply them.

A backward pass adds. What else happens to the gradient between two passes, and before the step,
multiplies all that is in it by a factor; 0 is zeroing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import ne
from typing import Any
from weakref import ref

from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from batchproof.step import settings_of
from batchproof.watch._copies import Copies
from batchproof.watch._losses import Arrival
from batchproof.watch._reads import Reads
from batchproof.watch._sentinels import Factor, Sentinels

# a window that is never zeroed holds at most so many micro-batches here
MOST = 1024
Scaler = ref[GradScaler]
# on other devices than the CPU, windows in which writes through .data are looked for
THOROUGH = 32


@dataclass(slots=True)
class Loss:
    """One call of a loss, while the run lasts; numbers are nan until they are read."""

    index: int
    site: str
    term: int
    kind: str
    reduction: str
    training: bool
    samples: int
    size: int = 1
    elements: float = float("nan")
    value: float = float("nan")
    weight: float = float("nan")
    hits: float | None = None
    counts: Tensor | None = None
    arrived: bool = False
    consumed: bool = False
    eps: float = 0.0
    noisy: int = 0
    batch: tuple[int, int] = (-1, -1)


@dataclass(slots=True)
class Gift:
    """The contribution of one loss to a gradient in one backward pass."""

    loss: Loss
    backward: int
    ordinal: int
    reach: int
    scaler: Scaler | None = None
    mass: float = float("nan")
    weight: float | None = None
    low: float | None = None
    high: float | None = None
    rows_low: float | None = None
    rows_high: float | None = None
    padded: float = 0.0
    factors: list[Factor] = field(default_factory=list)
    steps: int = 0

    def read(self, arrival: Arrival, reads: Reads) -> None:
        """Ask for the numbers of an arrival."""
        if isinstance(arrival.mass, float):
            self.mass = arrival.mass
        else:
            reads.into(arrival.mass, self, "mass")
        if arrival.weight is None:
            return
        for name in ("weight", "low", "high", "rows_low", "rows_high", "padded"):
            number = getattr(arrival, name)
            if number is not None:
                reads.into(number, self, name)

    def factor(self, count: int) -> float:
        """Return the product of the first so many factors."""
        product = 1.0
        for factor in self.factors[:count]:
            product *= factor.value
        return product


@dataclass(slots=True)
class Clip:
    """One clipping call: its factor, and how many micro-batches were in the gradient."""

    site: str
    factor: Factor
    parts: int
    before_unscale: bool
    max_norm: float | None = None


@dataclass(slots=True)
class StepRecord:
    """One optimiser step, while numbers still wait to be read."""

    index: int
    site: str
    number: int
    gifts: list[tuple[Gift, int, bool]]
    discards: list[tuple[Gift, int]]
    clips: list[Clip]
    closure: bool
    moves: dict[str, list[str]]
    rest: list[Factor]
    scale: float | None
    elsewhere: list[Any] = field(default_factory=list)


class Ledger:
    """The micro-batches in the gradient of one optimiser.

    Args:
        optimizer: the optimiser.
        name: what it is called in reports.
        whole: whether it was known before its first backward pass.
        reads: the numbers that wait to be read.

    Attributes:
        world: the number of ranks that its gradient is averaged over, once they are known.
        copies: tensors that may be an average of its parameters.
        settings: those that a factor before the loss changes, as they were at the first step.
    """

    def __init__(self, optimizer: Optimizer, name: str, reads: Reads, *, whole: bool) -> None:
        self.name, self.whole, self.reads = name, whole, reads
        self._optimizer = ref(optimizer, self._retire)
        self.steps = 0
        self.records: list[StepRecord] = []
        self.world = 1
        self.settings: list[dict[str, Any]] = []
        self._gifts: list[Gift] = []
        self._waiting: list[Gift] = []
        self._discards: list[tuple[Gift, int]] = []
        self._clips: list[Clip] = []
        self._rest: list[Factor] = []
        self._moves: dict[str, list[str]] = {}
        self._sentinels = Sentinels(reads)
        self.copies = Copies()
        self._before: list[tuple[int, int]] = []
        self._parameters: list[Tensor] = []

    def _retire(self, _: object) -> None:
        """Let go of what belonged to an optimiser that is gone."""
        self._sentinels.forget()
        self._parameters, self._before = [], []

    @property
    def optimizer(self) -> Optimizer | None:
        """Return the optimiser, or None where the script dropped it."""
        return self._optimizer()

    @property
    def open(self) -> list[Gift]:
        """Return the micro-batches that are in the gradient and in no step yet."""
        return [gift for gift in self._gifts if not gift.steps]

    def parameters(self) -> list[Tensor]:
        """Return the optimiser's parameters, also those of groups added later."""
        optimizer = self._optimizer()
        if optimizer is None:
            return []
        groups = optimizer.param_groups
        count = 0
        for group in groups:
            count += len(group["params"])
        if count != len(self._parameters):
            self._parameters = [p for group in groups for p in group["params"]]
        return self._parameters

    def begin(self) -> None:
        """Remember the gradients before a backward pass."""
        self.settle_changes()
        self._before = self._prints()
        # the first window may have moved nothing that an average could follow
        if self.steps and self.copies.is_wanted and (self._gifts or self.copies.looks):
            self._look()

    def _look(self) -> None:
        optimizer, parameters = self.optimizer, self.parameters()
        if optimizer is not None and parameters:
            self.copies.look(parameters, optimizer.state.values(), self.steps)

    def _prints(self) -> list[tuple[int, int]]:
        return [
            (0, 0) if (g := p.grad) is None else (id(g), g._version)  # noqa: SLF001
            for p in self.parameters()
        ]

    def end(
        self,
        arrivals: Iterable[tuple[Loss, int, Arrival]],
        backward: int,
        scaler: Scaler | None,
    ) -> bool:
        """Record the gradients after a backward pass, and the losses that took part.

        Args:
            arrivals: each loss that took part, its number among those of its term, what arrived.
            backward: the number of the pass.
            scaler: the one that multiplied the losses, or None.

        Returns:
            Whether any parameter of the optimiser received a gradient.
        """
        after = self._prints()
        if after == self._before:
            return False
        same_number = len(self._before) == len(after)
        reach = hash(tuple(map(ne, after, self._before))) if same_number else 0
        self.hold(arrivals, backward, scaler)
        for gift in self._waiting:
            gift.reach = reach
        self._gifts += self._waiting
        self._waiting = []
        if len(self._gifts) > MOST:
            del self._gifts[: MOST // 2]
        self._before = after
        self._sentinels.place(self.parameters())
        return True

    def hold(
        self,
        arrivals: Iterable[tuple[Loss, int, Arrival]],
        backward: int,
        scaler: Scaler | None,
    ) -> None:
        """Record losses whose gradients enter with a later backward pass.

        fully_shard keeps the gradients of passes that it does not synchronise elsewhere.

        Args:
            arrivals: each loss that took part, its number among those of its term, what arrived.
            backward: the number of the pass.
            scaler: the one that multiplied the losses, or None.
        """
        for loss, ordinal, arrival in arrivals:
            gift = Gift(loss, backward, ordinal, reach=0, scaler=scaler)
            gift.read(arrival, self.reads)
            self._waiting.append(gift)

    def settle_changes(self) -> None:
        """Find the factor on the gradient since the last look."""
        # a script that writes through .data does so in its first windows
        if not self._gifts or self._sentinels.are_as_they_were(thorough=self.steps < THOROUGH):
            return
        if self._sentinels.are_gone():
            self._drop()
            return
        factor = self._sentinels.factor()
        for gift in self._gifts:
            gift.factors.append(factor)
        self._rest.append(factor)
        self._sentinels.place(self.parameters())
        if factor.value == 0:
            self._drop()

    def _drop(self) -> None:
        self._discards += [(g, len(g.factors)) for g in self._gifts if not g.steps]
        self._gifts = []
        self._sentinels.forget()
        del self._discards[:-MOST]

    def clipped(self, site: str, max_norm: float | None, *, before_unscale: bool) -> None:
        """Record the factor of a clipping call, apart from the masses.

        Args:
            site: where it was called.
            max_norm: the norm that it keeps; None where it clips each element.
            before_unscale: whether the gradient carries a loss scale.
        """
        same = self._sentinels.are_as_they_were(thorough=True)
        factor = Factor(1.0) if same else self._sentinels.factor()
        self._clips.append(Clip(site, factor, len(self.open), before_unscale, max_norm))
        if not same:
            self._sentinels.place(self.parameters())

    def moved(self, what: str, site: str) -> None:
        """Record that a schedule or an average moved."""
        moves = self._moves.setdefault(what, [])
        if len(moves) < MOST:
            moves.append(site)

    def step(self, index: int, site: str, *, closure: bool, scale: float | None) -> StepRecord:
        """Close the window: the optimiser follows the gradient as it is now."""
        self.settle_changes()
        self.steps += 1
        optimizer = self.optimizer
        if self.steps == 1 and optimizer is not None:
            self.settings = settings_of(optimizer)
        gifts = [(gift, len(gift.factors), gift.steps > 0) for gift in self._gifts]
        record = StepRecord(
            index,
            site,
            self.steps,
            gifts,
            self._discards,
            self._clips,
            closure,
            self._moves,
            self._rest,
            scale,
        )
        for gift in self._gifts:
            gift.steps += 1
        self._discards, self._clips, self._moves, self._rest = [], [], {}, []
        self.records.append(record)
        if len(self.records) > 4 * MOST:
            # the first windows and the latest are kept
            del self.records[MOST : 2 * MOST]
        return record

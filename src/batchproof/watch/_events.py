"""Records of a watched run: losses, optimiser steps and findings, as frozen records.

Every record carries an `index` from one counter, `Watcher.clock()`. Numbers that a script prints
are stamped by the same counter, so that losses, steps and numbers are in the order in which they
happened.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Grade = Literal["wrong", "note"]


@dataclass(frozen=True, slots=True)
class LossEvent:
    """One call of a loss.

    Attributes:
        index: its place in the order of events.
        site: "file:line" of the user's code that led to the call.
        kind: the function, such as "cross_entropy".
        reduction: "mean", "sum", "none", or "batchmean" of a divergence.
        training: whether a graph was recorded, so that it can enter an optimiser step.
        value: the loss as returned; the sum of its elements for "none".
        total: sum of the losses, each times what it adds to the weight.
        weight: what the mean divides by: elements that count, or their class weights.
        elements: number of losses that count.
        samples: size of the first dimension of the input.
        hits: number of elements whose largest logit is the target; None where no class is chosen.
        counts: for each class its hits, predictions and targets, shape (classes, 3), of an
            evaluation; None where no class is chosen, or there are very many.
    """

    index: int
    site: str
    kind: str
    reduction: str
    training: bool
    value: float
    total: float
    weight: float
    elements: float
    samples: int
    hits: int | None = None
    counts: Any = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of one micro-batch to an optimiser step.

    Attributes:
        loss: the index of its LossEvent.
        backward: the number of the backward pass that brought it.
        term: the number of the term of the objective: losses of one place and one occasion.
        mass: d(what the optimiser follows) / d(the micro-batch's mean): the sum of its shares.
        weight: what the mean divides by.
        share: mass / weight, the share of each element; nan where elements differ.
        samples: number of samples.
    """

    loss: int
    backward: int
    term: int
    mass: float
    weight: float
    share: float
    samples: int


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One optimiser step.

    Attributes:
        index: its place in the order of events.
        site: "file:line" of the user's code that called it.
        optimizer: such as "AdamW", or "SGD 2" for the second optimiser of that class.
        number: counts the steps of this optimiser from 1.
        contributions: every micro-batch that is in the gradient.
        dropped: number of micro-batches whose gradient was zeroed since the step before.
        clips: for each clipping call the factor that it multiplied the gradient by.
    """

    index: int
    site: str
    optimizer: str
    number: int
    contributions: tuple[Contribution, ...]
    dropped: int = 0
    clips: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake that a run shows, or a note.

    Attributes:
        name: of the catalogue.
        grade: "wrong" where the run proves it, else "note".
        place: "file:line" of the user's code.
        sentence: what is wrong, with this run's numbers.
        remedy: the lines to write.
        evidence: the numbers; "picture" holds {"title", "rows": [{"label", "share", "wanted"}]}.
    """

    name: str
    grade: Grade
    place: str
    sentence: str
    remedy: str
    evidence: dict[str, Any] = field(default_factory=dict)

"""Results of a check: of each cut, and each mistake that is proved."""

import math
from dataclasses import dataclass, replace

from batchproof.mistakes import CATALOGUE, mistake


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that the measurements prove.

    Attributes:
        name: its name in the catalogue of mistakes, or "unknown".
        sentence: what is wrong.
        remedy: what to do.
        code: lines of code to write.
        residual: the largest relative distance between what the mistake predicts for a cut and
            what was measured; None for "unknown", which predicts nothing.
    """

    name: str
    sentence: str
    remedy: str
    code: str = ""
    residual: float | None = None

    @property
    def page(self) -> str:
        """Return the address of the mistake's page; "" where the catalogue has none."""
        return CATALOGUE[self.name].page if self.name in CATALOGUE else ""


def diagnosis(
    name: str, sentence: str, residual: float | None = None, *, evaluation: bool = False
) -> Diagnosis:
    """Return a diagnosis with the remedy of the catalogue.

    Args:
        name: of the mistake.
        sentence: what is wrong.
        residual: of its prediction.
        evaluation: whether an evaluation was checked, not a step.
    """
    remedy = mistake(name).remedy_for(evaluation=evaluation)
    return Diagnosis(name, sentence, remedy.sentence, remedy.code, residual)


def merge(diagnoses: list[Diagnosis]) -> list[Diagnosis]:
    """Return the diagnoses with those of one name made one: all sentences, the worst residual.

    Args:
        diagnoses: in the order in which they are shown.
    """
    by_name: dict[str, Diagnosis] = {}
    for one in diagnoses:
        before = by_name.get(one.name)
        if before is None:
            by_name[one.name] = one
        elif one.sentence not in before.sentence:
            residuals = [r for r in (before.residual, one.residual) if r is not None]
            by_name[one.name] = replace(
                before,
                sentence=f"{before.sentence} {one.sentence}",
                residual=max(residuals, default=None),
            )
    return list(by_name.values())


@dataclass(frozen=True)
class CutResult:
    """The result of one cut, beside that of the uncut step.

    Attributes:
        name: the cut.
        sizes: sizes of its micro-batches; ranks are separated by a bar.
        ranks: number of processes.
        dependent: whether gradient or reported number differ from the uncut one's.
        error: the largest relative error of a parameter tensor's gradient (of the number, for
            an evaluation).
        scale: the number that makes the uncut gradient closest to this one.
        cosine: of the angle between this gradient and the uncut one.
        change: relative error of the parameters' change.
        loss: the number that was reported.
        loss_error: its relative error; over ranks, of the rank whose number is furthest off.
        worst: the parameter whose gradient is furthest off.
        failure: why the cut gave no result, if it gave none.
        shares: those of the micro-batches in the gradient; empty where that is not determined.
        wanted: those in the mean; empty where that is not known.
        share_residual: how far the gradient is from the sum of micro-batches with these shares.
    """

    name: str
    sizes: str
    ranks: int
    dependent: bool
    error: float
    scale: float
    cosine: float
    change: float
    loss: float | None
    loss_error: float | None
    worst: str = ""
    failure: str | None = None
    shares: tuple[float, ...] = ()
    wanted: tuple[float, ...] = ()
    share_residual: float | None = None

    @property
    def largest(self) -> float:
        """Return the larger of its two errors: the one that is shown where only one is."""
        return max(self.error, self.loss_error or 0.0)

    @classmethod
    def not_run(cls, name: str, sizes: str, ranks: int, failure: str) -> "CutResult":
        """Return the result of a cut that gave none.

        Args:
            name: the cut.
            sizes: of its micro-batches.
            ranks: number of processes.
            failure: why.
        """
        none = math.nan
        return cls(
            name,
            sizes,
            ranks,
            dependent=False,
            error=none,
            scale=none,
            cosine=none,
            change=none,
            loss=None,
            loss_error=None,
            failure=failure,
        )

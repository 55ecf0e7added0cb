"""Mistakes of an evaluation: its mode and its graph."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchproof.watch._ledger import Ledger, Loss
from batchproof.watch._loop import BATCH_STATISTICS, DROPOUT

LEAST = 2


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Successive losses of one place that nothing learned from.

    Attributes:
        losses: the calls.
        graph: whether a graph was recorded, and never used.
    """

    losses: tuple[Loss, ...]
    graph: bool

    @property
    def site(self) -> str:
        """Return "file:line" of its loss."""
        return self.losses[0].site


def evaluations_of(losses: Sequence[Loss], ledgers: Iterable[Ledger]) -> list[Evaluation]:
    """Return every evaluation of a run: two losses or more with nothing learned between them."""
    steps = sorted(record.index for ledger in ledgers for record in ledger.records)
    training = {(loss.term, loss.batch[0]) for loss in losses if loss.arrived}
    passes: list[Evaluation] = []
    run: list[Loss] = []
    step = 0
    for loss in losses:
        has_step = False
        while step < len(steps) and steps[step] < loss.index:
            step += 1
            has_step = True
        # a training may skip batches of a pass that it learns from
        is_skipped = (loss.term, loss.batch[0]) in training
        idle = not loss.training or not (loss.arrived or is_skipped)
        if run and (has_step or not idle or loss.training != run[0].training):
            _close(run, passes)
            run = []
        if idle:
            run.append(loss)
    _close(run, passes)
    return passes


def _close(run: list[Loss], passes: list[Evaluation]) -> None:
    by_term: dict[int, list[Loss]] = {}
    for loss in run:
        by_term.setdefault(loss.term, []).append(loss)
    passes += [
        Evaluation(tuple(group), group[0].training)
        for group in by_term.values()
        if len(group) >= LEAST
    ]


def in_train_mode(evaluation: Evaluation) -> str | None:
    """Return a sentence if dropout or batch statistics were at work in every batch."""
    first = evaluation.losses[0].noisy
    for loss in evaluation.losses:
        first &= loss.noisy
    if not first & (DROPOUT | BATCH_STATISTICS):
        return None
    what = "dropout is at work" if first & DROPOUT else "batches are normalised by themselves"
    return (
        f"The model is evaluated in training mode: {what} in all "
        f"{len(evaluation.losses)} batches of the evaluation."
    )


def with_graph(evaluation: Evaluation) -> str | None:
    """Return a sentence if the evaluation recorded a graph that nothing used."""
    if not evaluation.graph:
        return None
    return (
        f"The evaluation records a graph for each of its {len(evaluation.losses)} batches, and "
        "nothing uses them."
    )

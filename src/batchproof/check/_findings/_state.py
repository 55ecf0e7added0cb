"""State: draws, statistics of a batch, and what a call or a micro-batch leaves to the next."""

import math
from itertools import combinations

import torch
from torch import Tensor

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._runner import Runner
from batchproof.check._report._results import Diagnosis, diagnosis


def unsteady(evidence: Evidence) -> list[Diagnosis]:
    """Return the cause of differences between two runs of the uncut step."""
    steady = evidence.steadiness
    if steady.erratic and steady.draws:
        text = (
            f"Random numbers are drawn in {', '.join(steady.draws[:4])}: the same cut under "
            f"another seed is {steady.apart:.1%} away, so cuts cannot be compared."
        )
        return [diagnosis("random-draws", text, evaluation=evidence.evaluation)]
    if steady.erratic:
        text = (
            "The same cut of the same samples gives another result in the next call "
            f"({steady.noise:.1%} away), though model and seeds are the same: something outlives "
            "the call."
        )
        return [diagnosis("leaking-state", text, evaluation=evidence.evaluation)]
    if not evidence.unsteady:
        return []
    text = (
        f"A second call on the same model, restored in between, is {steady.second:.1%} away from "
        "the first: something outlives the call."
    )
    return [diagnosis("leaking-state", text, evaluation=evidence.evaluation)]


def batch_norm(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if batch normalisation is why micro-batches give another result."""
    if evidence.norms is None:
        return []
    text = (
        "Batch normalisation looks at the batch that it is given "
        f"({', '.join(evidence.norms.names)}), so every cut has statistics of its own."
    )
    residual = evidence.norms.residual
    return [diagnosis("batch-norm", text, residual, evaluation=evidence.evaluation)]


def notes_on_norms(evidence: Evidence) -> list[str]:
    """Return whether further measurements held batch normalisation still."""
    if evidence.norms is None:
        return []
    return [f"measured with batch normalisation held still: {', '.join(evidence.norms.names)}"]


def moved(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if state that belongs to the step moves with every micro-batch.

    What it then is depends on the number of micro-batches alone: it is the same for every cut into
    as many, and another one for every other number.
    """
    runner = evidence.runner
    cuts = [c for c in evidence.cuts if len(c.ranks) == 1 and c.reference == "whole"]
    by_number: dict[int, list[Tensor]] = {}
    for cut in cuts:
        state = runner.observe(cut).left
        if state is None or cut.before or runner.subject.window is not None:
            return []
        by_number.setdefault(len(cut.pieces), []).append(state)
    names, worst = [], 0.0
    for name, span in runner.record.left.spans.items():
        gap = _gap(
            {number: [v[span] for v in states] for number, states in by_number.items()}, runner
        )
        if gap is not None:
            names.append(name)
            worst = max(worst, gap)
    if not names:
        return []
    listing = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    text = (
        f"The step moves {listing} with every micro-batch: what is left behind depends on how many "
        "there are, and on nothing else of the cut."
    )
    return [diagnosis("state-moved-per-micro-batch", text, worst)]


def _gap(by_number: dict[int, list[Tensor]], runner: Runner) -> float | None:
    """Return the difference of cuts into as many micro-batches, if other numbers differ more."""
    size = max(float(value.norm()) for values in by_number.values() for value in values)
    if size == 0 or not math.isfinite(size) or len(by_number) < 2:
        return None
    firsts = [values[0] for values in by_number.values()]
    again = [(v, values[0]) for values in by_number.values() for v in values[1:]]
    within = max((float((a - b).norm()) / size for a, b in again), default=math.inf)
    across = min(float((a - b).norm()) / size for a, b in combinations(firsts, 2))
    return within if within <= runner.tolerance and across > 10 * runner.tolerance else None


def carried(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if state goes from one micro-batch to the next.

    Whatever a stateless window makes of micro-batches A and B, it is a sum alpha m(A) + beta m(B).
    If it is not such a sum and depends on order, A changed the state that B sees.
    """
    runner, n = evidence.runner, evidence.facts.count
    # of one size, so that a loader of one batch size can give them in either order
    pieces = MicroBatch(tuple(range(n // 2))), MicroBatch(tuple(range(n // 2, n // 2 * 2)))
    alone = torch.stack([runner.vector(Cut("piece", ((piece,),))) for piece in pieces])
    orders = (pieces, pieces[::-1])
    both = torch.stack([runner.vector(Cut("in order", (order,))) for order in orders])
    if not bool(torch.isfinite(torch.cat([alone, both])).all()) or alone.shape[1] < 4:
        return []
    gap = relative(both[1], both[0])
    parts = torch.linalg.lstsq(alone.T, both.T).solution.T
    outside = max(relative(parts[i] @ alone, both[i]) for i in range(2))
    if gap <= runner.tolerance or outside <= runner.fit:
        return []
    text = (
        "What one micro-batch leaves behind changes the next: two micro-batches give a result "
        f"{outside:.1%} away from any sum of what they give alone, and in the other order "
        f"another one, {gap:.1%} away."
    )
    return [diagnosis("leaking-state", text, evaluation=evidence.evaluation)]

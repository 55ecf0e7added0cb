"""State: draws, statistics of a batch, and what a call or a micro-batch leaves to the next."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from batchproof.check._findings._evidence import Evidence
from batchproof.check._laws._laws import misfit
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._state import WATCHED, buffers_of
from batchproof.check._report._results import Diagnosis, diagnosis

_ONCE = (
    "Let every micro-batch of a window see the same state: compute what they share from all of "
    "them first, or change it once, after the optimiser has stepped."
)
# averages of a smaller decay hold the last micro-batch alone
_LEAST_DECAY = 1e-3
# how far two micro-batches' gradients are from parallel, relative, before shares are told apart
_APART = 1e-6


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
            f"({steady.noise:.1%} away), though model and seeds are the same: some state is kept "
            "from one call to the next."
        )
        return [diagnosis("leaking-state", text, evaluation=evidence.evaluation)]
    if not evidence.unsteady:
        return []
    text = (
        f"A second call on the same model, restored in between, is {steady.second:.1%} away from "
        "the first: some state is kept from one call to the next."
    )
    return [diagnosis("leaking-state", text, evaluation=evidence.evaluation)]


def batch_norm(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if batch normalisation is why micro-batches give another result."""
    if evidence.norms is None:
        return []
    text = (
        f"Batch normalisation ({', '.join(evidence.norms.names)}) uses the statistics of each "
        "micro-batch, so the result depends on the cut."
    )
    residual = evidence.norms.residual
    return [diagnosis("batch-norm", text, residual, evaluation=evidence.evaluation)]


def notes_on_norms(evidence: Evidence) -> list[str]:
    """Return whether batch normalisation ran on its running statistics in what follows."""
    if evidence.norms is None:
        return []
    names = ", ".join(evidence.norms.names)
    return [f"measured with batch normalisation on its running statistics: {names}"]


def moved(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if state that belongs to the step moves with every micro-batch.

    What it then is depends on the number of micro-batches alone: it is the same for every cut into
    as many, and another one for every other number. Or it is watched, and is an average that takes
    something in from every micro-batch: two of them give its decay, which predicts every cut.
    """
    laws = {name: law for name, law in _moves(evidence).items() if law is not None}
    if not laws:
        return []
    averages = any(law.is_average for law in laws.values())
    rest = "what each of them holds" if averages else "nothing else of the cut"
    text = (
        f"The step moves {_listing(laws)} with every micro-batch: what is left behind depends on "
        f"how many there are, and on {rest}."
    )
    worst = max(law.residual for law in laws.values())
    return [diagnosis("state-moved-per-micro-batch", text, worst)]


def notes_on_state(evidence: Evidence) -> list[str]:
    """Return what a step leaves in other states under other cuts, which may be as it should be."""
    if evidence.steadiness.erratic or evidence.unsteady:
        return []
    names = [name for name, law in _moves(evidence).items() if law is None]
    if not names:
        return []
    listing = _listing(names)
    return [f"what a step leaves in {listing} depends on the cut, as statistics of batches do"]


def _listing(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")


class _StateLaw(NamedTuple):
    """What predicts a state under every cut: the number of micro-batches, or an average."""

    residual: float
    is_average: bool


def _moves(evidence: Evidence) -> dict[str, _StateLaw | None]:
    """Return the states that the cut changes, and what predicts each; None where nothing does."""
    runner, cuts = evidence.runner, _cuts_with_state(evidence)
    laws: dict[str, _StateLaw | None] = {}
    for name, span in runner.record.state_sketch.spans.items() if cuts else ():
        by_number = _by_number(runner, cuts, span)
        states = torch.stack([state for states in by_number.values() for state in states])
        size = float(states.norm(dim=1).max())
        if not any(relative(state, states[0], size) > runner.tolerance for state in states):
            continue
        gap, is_average = _gap(by_number, runner), False
        # an average of data is judged only where it is handed in: others may be statistics
        if gap is None and name.startswith(WATCHED):
            gap, is_average = _gap_of_average(runner, cuts, span), True
        laws[name] = None if gap is None else _StateLaw(gap, is_average)
    return laws


def _cuts_with_state(evidence: Evidence) -> list[Cut]:
    """Return the cuts after which the state of the step can be compared, or none."""
    runner = evidence.runner
    cuts = [c for c in evidence.cuts if len(c.ranks) == 1 and c.reference == "whole"]
    if runner.subject.window is not None or any(cut.before for cut in cuts):
        return []
    return cuts if all(runner.observe(cut).state_sketch is not None for cut in cuts) else []


def _by_number(runner: Runner, cuts: Sequence[Cut], span: slice) -> dict[int, list[Tensor]]:
    """Return a part of the state after each cut, by its number of micro-batches."""
    states: dict[int, list[Tensor]] = {}
    for cut in cuts:
        sketch = runner.observe(cut).state_sketch
        if sketch is not None:
            states.setdefault(len(cut.pieces), []).append(sketch[span])
    return states


def _gap_of_average(runner: Runner, cuts: Sequence[Cut], span: slice) -> float | None:
    """Return how far every cut is from an average that takes in each micro-batch, if it is one.

    With c the state before, s_j the state after micro-batch j alone, and a decay d

        after A, then B    d s_A + s_B - d c        so    d = 1 - (AB - BA) / (s_B - s_A)
        after k of them    c + sum_j d^(k-j) (s_j - c)
    """

    def state(*pieces: MicroBatch) -> Tensor:
        sketch = runner.observe(Cut("in order", (pieces,))).state_sketch
        return torch.full((1,), math.nan) if sketch is None else sketch[span].double()

    whole = state(*runner.whole().pieces)
    after = torch.stack([state(*cut.pieces) for cut in cuts])
    moves, size = float((after - whole).norm(dim=1).max()), float(whole.norm())
    if not moves > runner.tolerance * size:
        return None
    a, b = _halves(runner)
    alone, other = state(a), state(b)
    by = other - alone
    if not float(by.norm()) > runner.tolerance * size:
        return None
    decay = 1 - float((state(a, b) - state(b, a)) @ by) / float(by @ by)
    if not _LEAST_DECAY < decay <= 1 + runner.fit:
        return None
    start = (decay * alone + other - state(a, b)) / decay
    rows = []
    for cut in cuts:
        now = start
        for piece in cut.pieces:
            now = decay * (now - start) + state(piece)
        rows.append(now)
    gap = float((torch.stack(rows) - after).norm(dim=1).max()) / moves
    return gap if gap <= runner.fit else None


def _halves(runner: Runner) -> tuple[MicroBatch, MicroBatch]:
    """Return two micro-batches of one size, which a loader of one size can give in either order."""
    half = runner.count // 2
    return MicroBatch(tuple(range(half))), MicroBatch(tuple(range(half, 2 * half)))


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
    runner, pieces = evidence.runner, _halves(evidence.runner)
    alone = torch.stack([runner.vector(Cut("piece", ((piece,),))) for piece in pieces])
    orders = (pieces, pieces[::-1])
    both = torch.stack([runner.vector(Cut("in order", (order,))) for order in orders])
    if not bool(torch.isfinite(torch.cat([alone, both])).all()) or alone.shape[1] < 4:
        return []
    gap = relative(both[1], both[0])
    if gap <= runner.tolerance:
        return []
    parts = torch.linalg.lstsq(alone.T, both.T).solution.T
    outside = max(relative(parts[i] @ alone, both[i]) for i in range(2))
    if outside > runner.fit:
        text = (
            "two micro-batches give a result that is no sum of what they give alone, "
            f"{outside:.2g} away (relative), and in the other order another one, {gap:.2g} away."
        )
    elif evidence.clipping.scales and _weighed_by_the_one_before(runner):
        text = "how much a micro-batch counts depends on what the one before it holds."
    else:
        return []
    changes = _Changes()
    runner.observe(Cut("piece", ((pieces[0],),)), touch=changes)
    where = f" ({', '.join(changes.names[:3])})" if changes.names else ""
    text = f"What one micro-batch leaves behind{where} changes the next: {text}"
    carries = diagnosis("leaking-state", text, evaluation=evidence.evaluation)
    return [replace(carries, remedy=_ONCE, code="")]


def _weighed_by_the_one_before(runner: Runner) -> bool:
    """Return whether what a micro-batch holds, and not its place alone, weighs the next.

    With alpha and beta the shares of A, then B, in a window of both, and p(A, B) = alpha / beta,
    p(A, B) p(B, A) is the same for all pairs if shares depend on the place, and on A and B apart:
    a divisor of the window cancels in it, and so do weights of A and B.
    """
    size = runner.count // 3
    pieces = [MicroBatch(tuple(range(i * size, (i + 1) * size))) for i in range(3)]
    products = []
    for pair in combinations(pieces, 2) if size else ():
        alone = torch.stack([runner.vector(Cut("piece", ((piece,),))) for piece in pair])
        orders = (pair, pair[::-1])
        both = torch.stack([runner.vector(Cut("in order", (order,))) for order in orders])
        parts = torch.linalg.lstsq(alone.T, both.T).solution
        determined = int(torch.linalg.matrix_rank(alone, rtol=_APART)) == len(pair)
        if not determined or misfit(parts.T @ alone, both) > runner.fit or not parts.all():
            return False
        products.append(float(parts[0, 0] / parts[1, 0] * parts[1, 1] / parts[0, 1]))
    return bool(products) and max(products) - min(products) > runner.fit * max(map(abs, products))


@dataclass(eq=False)
class _Changes:
    """Notes the buffers that a step changes, but for statistics of batch normalisation."""

    names: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        before = {name: buffer.clone() for name, buffer in buffers_of(model).items()}
        yield
        after = buffers_of(model).items()
        self.names = [name for name, b in after if name in before and not b.equal(before[name])]

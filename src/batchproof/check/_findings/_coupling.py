"""Coupled samples of a micro-batch, shown by changing two of them.

The output of a module for samples i and j is changed, for each alone and for both. In a sum over
samples, whose weights do not depend on the output, the two changes add up:

    g(i and j changed) - g(i changed) - g(j changed) + g(neither changed) = 0

Labels, masks and weights stay as they are, so that the denominators stay the same. Where the left
side is not zero, the gradient of sample i depends on the output for sample j.

Samples may also be compared with each other's data, and not with outputs. Then the batch is
changed: what is added to one sample's row of a tensor is subtracted from another's, and likewise
for two other samples. The changes of a sum over samples add up, and weights that are sums over the
tensor stay the same. A tensor with negative numbers holds no weights: there nothing is subtracted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import ProbeError
from batchproof._trees import leaves
from batchproof.check._findings._evidence import Evidence
from batchproof.check._findings._windows import words
from batchproof.check._measure._compare import relative
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._run import make_batch
from batchproof.check._measure._runner import Runner
from batchproof.check._measure._samples import edited, shape_of
from batchproof.check._report._results import Diagnosis, diagnosis

# sizes of a change, in standard deviations; the large one is for outputs that are rounded
_FAR = (1.0, 8.0)


def coupling(evidence: Evidence) -> list[Diagnosis]:
    """Return the diagnoses of a law whose micro-batches are measured as windows of their own.

    It is returned only where a change of two samples shows that they are coupled.
    """
    laws, search = evidence.laws, evidence.laws.search
    if search.plain is not None:
        return []
    if not _comparable(evidence):
        return []
    law = laws.over(search.as_measured(), laws.finite, laws.single)
    runner = evidence.runner
    if law is None or not evidence.clipping.scales:
        return []
    what, part = words(evidence)
    whole = f"the whole is {law.how.replace('micro-batch', part)}"
    if interaction(runner) > runner.fit or _wakes(runner, evidence.laws.single):
        name = "coupled-samples"
        text = (
            f"The {what} of a {part} is not one mean over its samples: each sample's share depends "
            f"on the others in the {part}, and {whole}."
        )
    elif weighed_by_others(runner):
        name = "weight-per-micro-batch"
        text = (
            f"The data of a {part} make the weights of its samples, each by a factor of its own (a "
            f"pos_weight or class weights from its labels, for one), and {whole}."
        )
    else:
        return []
    return [diagnosis(name, text, law.residual, evaluation=evidence.evaluation)]


def _comparable(evidence: Evidence) -> bool:
    """Return whether padding cannot be why a micro-batch is not a mean of its samples."""
    subject, every = evidence.runner.subject, range(evidence.facts.count)
    shapes = {shape_of(make_batch(subject, MicroBatch((i,)))) for i in every}
    return len(shapes) == 1 or evidence.facts.beside is not None


@dataclass(frozen=True)
class Place:
    """The samples' place in what a module returns: a module by name, and a dimension."""

    module: str
    dim: int


def interaction(runner: Runner) -> float:
    """Return the distance of two samples' parts from adding up, relative to the change by one.

    Args:
        runner: runs the step.

    Returns:
        The largest share over some pairs of samples; 0 where no module's output has one part a
        sample.
    """
    worst = 0.0
    for place in _places(runner):
        worst = max(worst, _mixed(runner, place, range(runner.count)))
        if worst > runner.fit:
            return worst
    worst = max([worst, *(_traded(runner, *table) for table in _tables(runner))])
    if worst > runner.fit:
        return worst
    across = [(place, path) for place in _places(runner) for path in _numbers(runner)]
    return max([worst, *(_crossed(runner, *one) for one in across)])


@dataclass(frozen=True)
class _Shift:
    """Adds to one sample's row of a tensor, and takes the same from another's where it trades."""

    path: str
    trades: bool
    pairs: tuple[tuple[int, int], ...]

    def __call__(self, batch: Any) -> Any:
        return edited(batch, self.path, self._shifted)

    def _shifted(self, leaf: Tensor) -> Tensor:
        result, spread = leaf.clone(), leaf.std()
        for one, other in self.pairs:
            draw = torch.Generator().manual_seed(one)
            step = torch.randn(leaf[0].shape, generator=draw, dtype=torch.float64).to(leaf)
            result[one] += step * spread
            if self.trades:
                result[other] -= step * spread
        return result


def _tables(runner: Runner) -> list[tuple[str, bool]]:
    """Return the tensors of a batch whose rows can be changed, and whether they trade.

    One number per sample that is never negative may be a weight beside other weights, and zeros and
    ones a mask: those are left alone.
    """
    if runner.count < 4:
        return []
    tables = []
    for path, leaf in leaves(make_batch(runner.subject, runner.whole().pieces[0])):
        if not leaf.is_floating_point() or leaf.ndim == 0 or len(leaf) != runner.count:
            continue
        if not bool(torch.isfinite(leaf).all()):  # what is missing is counted apart
            continue
        trades = not bool((leaf < 0).any())
        if not trades or (leaf.ndim > 1 and not bool(((leaf == 0) | (leaf == 1)).all())):
            tables.append((path, trades))
    return tables


def _numbers(runner: Runner) -> list[str]:
    """Return the tensors of a batch that hold a number, or several, a sample."""
    table = leaves(make_batch(runner.subject, runner.whole().pieces[0]))
    finite = [(path, leaf) for path, leaf in table if leaf.is_floating_point() and leaf.ndim > 0]
    return [
        path
        for path, leaf in finite
        if len(leaf) == runner.count > 3 and bool(torch.isfinite(leaf).all())
    ]


def _crossed(runner: Runner, place: Place, path: str) -> float:
    """Return how far a sample's data changes the effect of others' outputs, beyond one factor.

    The outputs for samples 1 and 2 are changed, with and without a change of the data of sample 0.
    If sample 0 is one more weight in the divisor, both effects change by the same factor. If they
    change by unlike factors, the samples are coupled.
    """
    whole = replace(runner.whole(), name="crossed")

    def part(sample: int, edit: _Shift | None) -> Tensor:
        move = _Move(place, (sample,), 1.0)
        there, here = (runner.vector(whole, edit=edit, touch=touch) for touch in (move, None))
        return there - here

    try:
        shift = _Shift(path, trades=False, pairs=((0, 0),))
        pairs = [(part(sample, None), part(sample, shift)) for sample in (1, 2)]
    except ProbeError:
        return 0.0
    sizes = [float(before @ before) for before, _ in pairs]
    if not all(0 < size < math.inf for size in sizes):
        return 0.0
    factors = [float(after @ b) / size for (b, after), size in zip(pairs, sizes, strict=True)]
    factor = sum(factors) / len(factors)
    return max(relative(after, factor * before) for before, after in pairs)


def weighed_by_others(runner: Runner) -> bool:
    """Return whether another sample in the batch changes the weights of others, unlike each other.

    Another sample takes the place of sample 0. A change of the output for sample i then has f_i
    times the effect that it had. In a mean all f_i are equal; in several means that reach the same
    sample the effects are no multiples of each other.

    Args:
        runner: runs the step.
    """
    places = _places(runner)
    if runner.count < 4 or not places:
        return False
    rest = range(1, runner.count)
    windows = [runner.whole(), *(runner.piece(j, *rest) for j in rest[:2])]

    def parts(window: Cut) -> list[Tensor]:
        # samples are named by their place, which is the same in every window
        touches = [_Move(places[-1], (place,), 1.0) for place in rest]
        here = runner.vector(window)
        return [runner.vector(window, touch=touch) - here for touch in touches]

    try:
        first, *others = [parts(window) for window in windows]
    except ProbeError:
        return False
    return any(_factors_differ(first, other, runner.fit) for other in others)


def _factors_differ(before: Sequence[Tensor], after: Sequence[Tensor], fit: float) -> bool:
    """Return whether vectors are positive multiples of those before, by unlike factors."""
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if bool(b.any())]
    factors = [float(a @ b) / float(b @ b) for b, a in pairs]
    multiples = all(
        relative(a, factor * b) <= fit for factor, (b, a) in zip(factors, pairs, strict=True)
    )
    return multiples and min(factors, default=0.0) > 0 and max(factors) > (1 + fit) * min(factors)


def _traded(runner: Runner, path: str, trades: bool) -> float:  # noqa: FBT001
    whole, first, second = replace(runner.whole(), name="shifted"), (0, 1), (2, 3)

    def given(*pairs: tuple[int, int]) -> Tensor:
        return runner.vector(whole, edit=_Shift(path, trades, pairs))

    try:
        return _left(given(), given(first), given(second), given(first, second))
    except ProbeError:
        return 0.0


def _left(none: Tensor, one: Tensor, other: Tensor, both: Tensor) -> float:
    """Return the relative distance of two changes together from the sum of each."""
    size = max(float((one - none).norm()), float((other - none).norm()), 1e-12 * float(none.norm()))
    interaction = float((both - one - other + none).norm())
    return interaction / size if size > 0 and math.isfinite(interaction / size) else 0.0


def _wakes(runner: Runner, cuts: Sequence[Cut]) -> bool:
    """Return whether a change of one sample gives all of a micro-batch a gradient that had none.

    A mean that is clamped, or below the threshold of a hinge, has no gradient.
    """
    several = dict.fromkeys(p for cut in cuts for p in cut.pieces if len(p.samples) > 1)
    silent = [p for p in several if not runner.vector(Cut("piece", ((p,),))).any()]
    places = _places(runner) if silent else []
    return any(_mixed(runner, place, p.samples) > runner.fit for place in places for p in silent)


def _mixed(runner: Runner, place: Place, samples: Sequence[int]) -> float:
    """Return how far the changes of two samples are from adding up, over some pairs."""
    window, last = replace(runner.piece(*samples), name="touched"), len(samples) - 1

    def moved(far: float, *at: int) -> Tensor:
        return runner.vector(window, touch=_Move(place, at, far))

    worst = 0.0
    pairs = dict.fromkeys([(0, 1), (0, last), (len(samples) // 2, last)])
    for far, (one, other) in product(_FAR, [pair for pair in pairs if len({*pair}) > 1]):
        try:
            each = moved(far), moved(far, one), moved(far, other), moved(far, one, other)
        except ProbeError:
            continue
        worst = max(worst, _left(*each))
    return worst


@dataclass(frozen=True)
class _Move:
    """Changes what a module's first call returns for some of its samples."""

    place: Place
    samples: tuple[int, ...]
    far: float

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        calls: list[bool] = []

        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            if calls:
                return output
            calls.append(True)
            return self._moved(output)

        handle = model.get_submodule(self.place.module).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _moved(self, output: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        step = torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output)
        # of all but the first sample, whose data may be changed too
        rest = output.detach().narrow(self.place.dim, 1, output.shape[self.place.dim] - 1)
        spread = rest.std() if rest.numel() > 1 else rest.abs().mean()
        shifts = torch.zeros(output.shape[self.place.dim], dtype=output.dtype, device=output.device)
        shifts[list(self.samples)] = self.far
        shape = [1] * output.ndim
        shape[self.place.dim] = -1
        return output + step * spread * shifts.view(shape)


@dataclass(eq=False)
class _Look:
    """Notes the shape of what every module's first call returns."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        handles = [m.register_forward_hook(self._noting(n)) for n, m in model.named_modules()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _noting(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                self.shapes.setdefault(name, tuple(output.shape))

        return hook


def _places(runner: Runner) -> list[Place]:
    """Return the places with one part a sample: the first such module that is called, and the last.

    A dimension is the samples' where it is as long as the micro-batch, whatever its size.
    """
    sizes = range(max(1, runner.count - 2), runner.count + 1)
    looks = []
    for size in sizes:
        look = _Look()
        try:
            runner.observe(runner.piece(*range(size)), touch=look)
        except ProbeError:
            return []
        looks.append(look.shapes)
    places = []
    for name, shape in looks[-1].items():
        for dim in range(len(shape)):
            shapes = [look.get(name, ()) for look in looks]
            lengths = [s[dim] if dim < len(s) else 0 for s in shapes]
            if lengths == list(sizes):
                places.append(Place(name, dim))
                break
    return list(dict.fromkeys([*places[:1], *places[-1:]]))

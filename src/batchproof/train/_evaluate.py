"""A model's mean loss over a data set: the same number at any batch size, in any order.

The sums stay on the device until the pass is over; then they are read once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from batchproof._errors import NonFiniteError, SettingError, shown
from batchproof._trees import first_nonfinite, to_device
from batchproof.data import DatasetWindows, Window
from batchproof.data._checks import expect_iterable
from batchproof.data._shards import refuse_repeated
from batchproof.mean import refuse_criterion
from batchproof.meter import Estimate, Metric
from batchproof.meter._score import Scores
from batchproof.ranks import (
    Group,
    blaming,
    from_rank,
    group_or_default,
    in_a_group,
    is_sharded,
    of_all,
    unwrapped,
    watch_of,
)
from batchproof.ranks import device_of as device_of_group
from batchproof.step import windows
from batchproof.train._batches import Sized, device_of, placed
from batchproof.train._loss import Loss
from batchproof.train._pass_means import Groups, PassMeans, unpooled

By = Callable[[Any], Int[Tensor, " samples"]]
_FOLD = 1024


def evaluate(
    model: Any,
    loader: Iterable[Any],
    loss: Loss,
    *,
    by: By | None = None,
    groups: Groups | None = None,
    coefficients: Mapping[str, float] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    nonfinite: Literal["raise", "keep"] = "raise",
    group: Any = None,
) -> Estimate:
    """Return the mean loss of a model over a data set, with its standard error and metrics.

    The model is evaluated in evaluation mode, and each module's mode restored; no gradient is kept.

    Args:
        model: handed to loss; batches are moved to the device of its parameters.
        loader: any iterable of batches.
        loss: called as loss(model, batch); returns a Mean, a dict of Means or an Outcome.
        by: called as by(batch): the group of each sample, shape (samples,), for a breakdown.
        groups: the number of groups, or their names.
        coefficients: what each term of an objective is multiplied by; 1 where not given.
        metrics: metrics that are not means, by name, such as {"f1": batchproof.meter.F1()}, or
            those of torchmetrics and torcheval. Copies of them get the outputs and targets of the
            Outcome that loss returns, as supervised's does; the results are in `.scores`.
        nonfinite: "raise", or "keep" to return a mean that is NaN or infinite as it is.
        group: the process group whose ranks evaluate together; None is the default group where
            one is initialised, else this process alone.

    Returns:
        The Estimate of the loss; of several terms, their weighted sum, with each in `.terms`.

    Raises:
        NonFiniteError: if the loss is NaN or infinite; it names the batch.
        RankError: if another rank failed, or did not join.
        SettingError: if an argument is invalid, the loader repeats samples, or a metric raises.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> batches = [(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3)),
        ...            (torch.tensor([10.0]), torch.zeros(1))]
        >>> mean = bp.evaluate(torch.nn.Identity(), batches, bp.supervised(torch.nn.L1Loss()))
        >>> mean.value, mean.mean_of_batch_means
        (4.0, 6.0)
    """
    refuse_criterion(loss)
    with blaming(group):
        sums = measure(
            model,
            loader,
            loss,
            by=by,
            groups=groups,
            coefficients=coefficients,
            metrics=metrics,
            nonfinite=nonfinite,
            group=group,
        )
    return sums.estimate()


def expect_grouped(by: By | None, groups: Groups | None) -> None:
    """Refuse a breakdown that is no function, or comes without the groups.

    Raises:
        SettingError: if it is one of these.
    """
    if by is None:
        return
    if not callable(by):
        raise SettingError(
            f"by is {shown(by)}; expected a function by(batch) that returns the group of each "
            "sample, such as lambda batch: batch[1]."
        )
    if groups is None:
        raise SettingError(
            "by was given without groups; give their number, or their names: groups=3."
        )


def measure(
    model: Any,
    loader: Iterable[Any],
    loss: Loss,
    *,
    by: By | None = None,
    groups: Groups | None = None,
    coefficients: Mapping[str, float] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    nonfinite: Literal["raise", "keep"] = "raise",
    group: Any = None,
    stop_after: Callable[[bool], bool] | None = None,
    over: Callable[[], None] | None = None,
) -> PassMeans:
    """Return the sums of an evaluation, from which evaluate makes its Estimate.

    It takes what evaluate takes. stop_after(counts) is called after every batch with whether it
    counts, and returns whether to leave the rest, as ranks of a sharded model must after the same
    batch; over() is called when this rank's batches are over, or left, before it meets the others.

    Raises:
        NonFiniteError: if the loss is NaN or infinite and nonfinite is "raise".
        SettingError: if by comes without groups.
    """
    expect_grouped(by, groups)
    # ranks draw unequal numbers of batches, so none may wait for another in a forward pass
    model = unwrapped(model)
    members = Group(group, device_of_group(group)) if in_a_group(group) else None
    if members is not None:
        refuse_repeated(loader, evaluated=True)
        # what ranks send when they are done may not meet a collective of a loss
        members.set_apart()
    sums = PassMeans(coefficients=coefficients, groups=groups)
    scores = Scores(metrics, device_of(model), group)
    finite = _FiniteCheck()
    with evaluating(model), counted(group) as count:
        for batch, counts in evenly(model, drawn_on(loader, device_of(model), count), group):
            terms, outcome = unpooled(loss(model, batch))
            if counts:
                sums.add(terms, outcome.metrics, by=None if by is None else by(batch))
                finite.add({name: mean.total.sum() for name, mean in terms.items()})
                scores.update(outcome.outputs, outcome.targets)
            count()
            if stop_after is not None and stop_after(counts):
                break
    if over is not None:
        over()
    if nonfinite == "raise":
        finite.check(loader)
    if members is not None:
        sums.sync(members.process_group)
    sums.take_scores(scores.compute())
    return sums


@contextmanager
def counted(group: Any) -> Iterator[Callable[[], None]]:
    """Give a function that counts a step of the evaluation, by which a rank that hangs is found."""
    if not in_a_group(group):
        yield lambda: None
        return
    watch = watch_of(group_or_default(group))
    watch.enter()
    yield watch.advance
    # ranks evaluate unequal numbers of batches, and wait for each other only when all are done
    watch.arrive()


def drawn_on(
    loader: Iterable[Any], device: torch.device, count: Callable[[], None]
) -> Iterable[Any]:
    """Return a loader's batches on a device, each counted when it is drawn."""
    expect_iterable("the loader", loader)

    def batches() -> Iterator[Any]:
        for item in placed(loader, device):
            for batch in item if isinstance(item, Window) else (item,):
                count()
                yield batch

    if isinstance(loader, DatasetWindows):
        return batches()
    try:
        return Sized(batches(), len(loader))  # type: ignore[arg-type]
    except TypeError:
        return batches()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a model in evaluation mode without gradient, and restore the mode of every module."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was in zip(modules, training, strict=True):
            module.training = was


class _FiniteCheck:
    """The batches whose loss is not finite; read on the host only at the end."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._pending: list[Tensor] = []
        self._folded: list[Tensor] = []

    def add(self, totals: Mapping[str, Tensor]) -> None:
        self._names = list(totals)
        self._pending += totals.values()
        if len(self._pending) >= _FOLD * len(self._names):
            self._fold()

    def _fold(self) -> None:
        if self._pending:
            self._folded.append(torch.stack(self._pending).isfinite())
            self._pending = []

    def check(self, loader: Iterable[Any]) -> None:
        self._fold()
        if not self._folded:
            return
        finite = torch.cat(self._folded)
        if bool(finite.all()):
            return
        place = int((~finite).nonzero()[0])
        index, term = divmod(place, len(self._names))
        batches = len(finite) // len(self._names)
        raise NonFiniteError(
            f"the loss is not finite: term {self._names[term]!r} in batch {index + 1} of "
            f"{batches}{_blame(loader, index)}. Fix the data or the model; "
            "evaluate(nonfinite='keep') returns such a mean as it is."
        )


def _blame(loader: Iterable[Any], index: int) -> str:
    """Return words that name the sample to blame, where the loader can be walked again."""
    is_random = isinstance(getattr(loader, "sampler", None), RandomSampler)
    if isinstance(loader, Iterator) or is_random:
        return ""
    nonfinite = first_nonfinite(next(islice(iter(loader), index, None), None))
    if nonfinite is None:
        return ""
    return f", whose sample {nonfinite[0]} (from 0) holds NaN or infinity"


def evenly(model: Any, loader: Iterable[Any], group: Any) -> Iterator[tuple[Any, bool]]:
    """Yield batches, and whether each counts: the ranks of a sharded model run it equally often.

    A rank with fewer batches runs its last one again, and one without any runs one that it is
    sent; these do not count.
    """
    if not (is_sharded(model) and in_a_group(group)):
        for batch in loader:
            yield batch, True
        return
    last = None
    for number, window in enumerate(windows(loader, 1, group=group)):
        last = window[0] if window else last
        if number == 0:
            last = _one_for_all(last, model, group, there=bool(window))
        yield last, bool(window)


def _one_for_all(batch: Any, model: Any, group: Any, *, there: bool) -> Any:
    """Return this rank's batch, or one of a rank that has one; every rank calls it."""
    have = of_all(there, group)
    if all(have):
        return batch
    substitute = from_rank(have.index(True), batch, group)
    return batch if there else to_device(substitute, device_of(model))

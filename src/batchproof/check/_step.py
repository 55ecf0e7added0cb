"""check_step and check_evaluate: run the user's code under many cuts, and report."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import default_collate

from batchproof._errors import ProbeError
from batchproof.check._diagnose import diagnose
from batchproof.check._measure._cuts import Chosen, Cut, Shares, choose, sized_cuts, standard_cuts
from batchproof.check._measure._masks import gather_facts
from batchproof.check._measure._ranks import Ranks
from batchproof.check._measure._run import Subject
from batchproof.check._measure._runner import MixedTypesError, Runner
from batchproof.check._report._report import Report
from batchproof.check._settle import settle

Wrap = Literal["ddp", "fsdp2"] | Callable[[nn.Module], nn.Module] | None

_NARROW = (
    "computed in torch.float32, the type of tensors that the step makes itself; for float64 make "
    "them in the type of the model"
)


def check_step(
    run: Callable[[Any, Any, list[Any]], Any],
    samples: Sequence[Any],
    *,
    build: Callable[[], Any],
    collate: Callable[[list[Any]], Any] = default_collate,
    cuts: Chosen = "standard",
    ranks: Sequence[int] = (1,),
    dtype: torch.dtype = torch.float64,
    pad: Callable[[Any], Any] | None = None,
    mask: Callable[[Any], Any] | None = None,
    window: int | None = None,
    wrap: Wrap = "ddp",
    watch: Callable[[Any], Any] | None = None,
    timeout: float = 60.0,
    name: str = "",
) -> Report:
    """Check whether one optimiser step depends on how its samples are cut, and say why.

    The step is run uncut and under each cut, from the same parameters, and the gradients at the
    moment of the optimiser's step are compared. A mistake is named only if every cut is as it
    predicts from the gradients and weights of single samples.

    Args:
        run: run(model, optimizer, micro_batches) -> the loss that it reports, or None: the user's
            own code for one optimiser step.
        samples: a handful of samples, of unequal length where the data has such; eight are good.
        build: build() -> (model, optimizer), the same each time (seeds are set before). The
            optimizer may be a callable that updates from summed gradients and divides by the
            weight it is given, or None where run makes its own.
        collate: makes a micro-batch of a list of samples.
        cuts: "standard", or names, Cuts, or a mapping of names to lists of lists of indices.
        ranks: numbers of processes, over gloo on this machine; all must be importable by name.
        dtype: floating-point type of model and samples.
        pad: pad(batch) -> batch, wider on the right; else collating beside the longest pads.
        mask: mask(sample) -> sample with nothing left that counts; else boolean masks are
            emptied, labels set to -100, and what else may be a mask is tried.
        window: for a loop that takes a loader and steps every so many micro-batches.
        wrap: how the model is wrapped over ranks: "ddp", "fsdp2", None, or a callable.
        watch: watch(model) -> what the step moves beside the model: a module, or tensors.
        timeout: seconds that a run over ranks may take.
        name: what is checked, for the report.

    Raises:
        ProbeError: if the step cannot be run as the check needs it.

    Examples:
        >>> import torch
        >>> def run(model, optimizer, micro_batches):
        ...     optimizer.zero_grad()
        ...     for x, y in micro_batches:
        ...         (torch.nn.functional.mse_loss(model(x), y) / len(micro_batches)).backward()
        ...     optimizer.step()
        >>> def build():
        ...     model = torch.nn.Linear(4, 1)
        ...     return model, torch.optim.SGD(model.parameters(), lr=0.1)
        >>> check_step(run, [(x, x[:1]) for x in torch.eye(4)], build=build).names
        ('mean-of-micro-batch-means',)
    """
    subject = Subject(run, build, tuple(samples), collate, dtype, pad, "step", window, wrap, watch)
    return _check(subject, cuts, ranks, mask=mask, timeout=timeout, name=name)


def check_evaluate(
    run: Callable[[Any, list[Any]], Any],
    samples: Sequence[Any],
    *,
    build: Callable[[], Any],
    collate: Callable[[list[Any]], Any] = default_collate,
    cuts: Chosen = "standard",
    ranks: Sequence[int] = (1,),
    dtype: torch.dtype = torch.float64,
    pad: Callable[[Any], Any] | None = None,
    mask: Callable[[Any], Any] | None = None,
    shards: Literal["given", "own"] | Shares = "given",
    wrap: Wrap = None,
    timeout: float = 60.0,
    name: str = "",
) -> Report:
    """Check whether an evaluation's number depends on how its samples are cut, and say why.

    Besides the cuts of check_step there are batches of every size up to the number of samples,
    and one batch on which the model gives NaN, which must not be dropped silently.

    Args:
        run: run(model, batches) -> float, the user's own evaluation over these batches.
        samples: a handful of samples.
        build: build() -> model, or (model, optimizer), the same each time.
        collate: makes a batch of a list of samples.
        cuts: as for check_step.
        ranks: numbers of processes to try.
        dtype: floating-point type of model and samples.
        pad: as for check_step.
        mask: as for check_step.
        shards: over ranks, whether run is given its rank's batches, or all of them because it
            shares them out on its own, as loaders with a distributed sampler do. A function
            shares(samples, batch_size, ranks) says besides which samples its batches then hold:
            for every rank a list of batches, each with how often its number counts; cuts are
            then batches of one size.
        wrap: how the model is wrapped over ranks.
        timeout: seconds that a run over ranks may take.
        name: what is checked, for the report.

    Returns:
        The report.

    Raises:
        ProbeError: if the evaluation cannot be run as the check needs it.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> def run(model, batches):
        ...     losses = [nn.functional.mse_loss(model(x), y).item() for x, y in batches]
        ...     return sum(losses) / len(losses)
        >>> draw = torch.Generator().manual_seed(0)
        >>> samples = [(torch.randn(3, generator=draw), torch.ones(1)) for _ in range(4)]
        >>> check_evaluate(run, samples, build=lambda: nn.Linear(3, 1)).names
        ('mean-of-micro-batch-means',)
    """
    subject = Subject(run, build, tuple(samples), collate, dtype, pad, "evaluate", None, wrap)
    return _check(subject, cuts, ranks, mask=mask, timeout=timeout, name=name, shards=shards)


def _check(
    subject: Subject,
    choice: Chosen,
    worlds: Sequence[int],
    *,
    mask: Callable[[Any], Any] | None,
    timeout: float,
    name: str,
    shards: Literal["given", "own"] | Shares = "given",
    notes: tuple[str, ...] = (),
) -> Report:
    _refuse(subject, worlds, timeout)
    whole, facts = gather_facts(subject, window=subject.window, mask=mask)
    own_shards = shards != "given"
    if callable(shards):
        facts = replace(facts, shares=shards)
    available = standard_cuts(
        facts, worlds, every_size=subject.kind == "evaluate", own_shards=own_shards
    )
    if callable(shards) and choice == "standard":
        available = sized_cuts(facts.count, worlds)
    cuts = choose(choice, available, facts.count)
    _refuse_windows(cuts, subject.window)
    ranks = Ranks(whole, timeout=timeout, own_shards=own_shards)
    try:
        with closing(ranks):
            several = [len(cut.ranks) for cut in cuts if len(cut.ranks) > 1]
            if several:
                ranks.start(several[0])
            runner = Runner(whole, facts.count, ranks.observe)
            return diagnose(settle(runner, facts, cuts), name=name, notes=notes)
    except MixedTypesError as error:
        if subject.dtype != torch.float64:
            raise
        narrow = replace(subject, dtype=torch.float32)
        settings: dict[str, Any] = {"mask": mask, "timeout": timeout, "name": name}
        try:
            return _check(narrow, choice, worlds, shards=shards, notes=(_NARROW,), **settings)
        except ProbeError:
            raise error from None


def _refuse_windows(cuts: Sequence[Cut], window: int | None) -> None:
    for cut in cuts:
        most = max(map(len, cut.ranks))
        if window is not None and most > window:
            raise ProbeError(
                f"cut {cut.name!r} has {most} micro-batches and window is {window}; expected one "
                f"window, which is compared with the uncut one: at most {window} micro-batches."
            )


def _refuse(subject: Subject, worlds: Sequence[int], timeout: float) -> None:
    if len(subject.samples) < 2:
        raise ProbeError(
            f"{len(subject.samples)} samples cannot be cut; give at least 2, better 8."
        )
    for label, value in (
        ("run", subject.run),
        ("build", subject.build),
        ("collate", subject.collate),
    ):
        if not callable(value):
            raise ProbeError(f"{label} is {type(value).__name__}; expected a callable.")
    if subject.watch is not None and (
        isinstance(subject.watch, nn.Module) or not callable(subject.watch)
    ):
        raise ProbeError(
            f"watch is {type(subject.watch).__name__}; expected a function of the model, which "
            "build() makes for every run."
        )
    if not subject.dtype.is_floating_point:
        raise ProbeError(f"dtype is {subject.dtype}; expected a floating-point type.")
    if not worlds or any(world < 1 for world in worlds):
        raise ProbeError(
            f"ranks is {tuple(worlds)}; expected numbers of processes, such as (1, 2)."
        )
    if max(worlds) > len(subject.samples):
        raise ProbeError(
            f"ranks is {tuple(worlds)} and there are {len(subject.samples)} samples; give no more "
            "ranks than samples."
        )
    if subject.window is not None and subject.window < 1:
        raise ProbeError(
            f"window is {subject.window}; expected micro-batches per window, 1 or more."
        )
    if timeout <= 0:
        raise ProbeError(f"timeout is {timeout}; expected seconds, more than 0.")

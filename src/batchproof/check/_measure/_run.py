"""One run of the user's code over one cut, and its observation."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from batchproof._errors import ProbeError
from batchproof._trees import tree_map
from batchproof.check._measure._compare import Difference, relative
from batchproof.check._measure._cuts import MicroBatch
from batchproof.check._measure._determinism import Controls, Trace, controlled, seed_all, traced
from batchproof.check._measure._recorder import Clip, Recorder
from batchproof.check._measure._samples import cast, rows
from batchproof.check._measure._state import state_of
from batchproof.ranks import full

SEED = 20_240


@dataclass(frozen=True)
class Subject:
    """The user's own parts, as given, and how to run them.

    Attributes:
        run: one step over micro-batches, or one evaluation over batches.
        build: makes (model, optimizer); for an evaluation a model will do.
        samples: the samples, the fully masked one last where there is one.
        collate: makes a batch of a list of samples.
        dtype: the floating-point type of model and samples.
        pad: widens a batch on the right.
        kind: what run does.
        window: micro-batches per window, for loops that take a loader.
        wrap: how the model is wrapped over ranks: "ddp", "fsdp2", None, or a callable.
        watch: returns state beside the model's that a step moves.
    """

    run: Callable[..., Any]
    build: Callable[[], Any]
    samples: tuple[Any, ...]
    collate: Callable[[list[Any]], Any]
    dtype: torch.dtype = torch.float64
    pad: Callable[[Any], Any] | None = None
    kind: Literal["step", "evaluate"] = "step"
    window: int | None = None
    wrap: str | Callable[[nn.Module], nn.Module] | None = "ddp"
    watch: Callable[[nn.Module], Any] | None = None


@dataclass(frozen=True)
class RunOptions:
    """The options of one run.

    Attributes:
        controls: what is switched off.
        seed: seeds the run; the build has its own seed, always the same.
        again: call run a second time on the same model, restored, and return that: "kept" leaves
            the gradients of the first call where they are, "cleared" drops them.
        nudge: added to the parameters, by name, before the run.
        poison: the index of the sample whose batch makes the model's output NaN.
        touch: watches, or moves, what a module makes of single samples.
        edit: changes a batch before it is handed over.
    """

    controls: Controls = field(default_factory=Controls)
    seed: int = SEED
    again: Literal["", "kept", "cleared"] = ""
    nudge: tuple[tuple[str, Tensor], ...] = ()
    poison: int | None = None
    touch: Callable[[nn.Module], AbstractContextManager[None]] | None = None
    edit: Callable[[Any], Any] | None = None


@dataclass
class Observation:
    """The results of one run.

    Attributes:
        gradients: by parameter name, at the moment of the last step.
        change: by parameter name, how far the step moved it.
        loss: what run returned, as a float.
        steps: number of optimiser steps.
        clips: the factor that each clipping by norm applied, and to which parameters.
        start: a fingerprint of the parameters as built.
        clamps: for every clipping by value, its limit.
        losses: what run returned on each rank.
        state: what the step leaves behind besides the parameters that it moves.
        norm: of all gradients.
        sketch: of the gradients.
        state_sketch: sketch of the state.
        differences: from the gradients of the uncut step, where the cut is compared with it.
        change_error: relative error of the parameters' change, likewise.
    """

    gradients: dict[str, Tensor]
    change: dict[str, Tensor]
    loss: float | None
    steps: int
    clips: tuple[Clip, ...]
    start: tuple[float, ...]
    clamps: tuple[float, ...] = ()
    losses: tuple[float | None, ...] = ()
    state: dict[str, Tensor] = field(default_factory=dict)
    norm: float = 0.0
    sketch: Tensor | None = None
    state_sketch: Tensor | None = None
    differences: tuple[Difference, ...] = ()
    change_error: float = 0.0

    def loss_error(self, reference: "Observation") -> float | None:
        """Return the largest relative distance of a rank's number from that of another run."""
        if self.loss is None or reference.loss is None:
            return None
        values = [loss for loss in (self.loss, *self.losses) if loss is not None]
        target = torch.tensor(reference.loss, dtype=torch.float64)
        return max(relative(torch.tensor(v, dtype=torch.float64), target) for v in values)


def make_batch(subject: Subject, piece: MicroBatch) -> Any:
    """Collate one micro-batch, padded as it says.

    Raises:
        ProbeError: if the samples cannot be collated.
    """
    together = [subject.samples[i] for i in (*piece.samples, *piece.beside)]
    try:
        batch = cast(subject.collate(together), subject.dtype)
        if piece.beside:
            batch = rows(batch, range(len(piece.samples)), len(together))
        return subject.pad(batch) if piece.padded and subject.pad is not None else batch
    except Exception as error:
        raise ProbeError(
            f"samples {list(piece.samples)} cannot be collated: {one_line(error)}. "
            "Give the collate function that your loader uses: collate=..."
        ) from error


def one_line(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def build_model(subject: Subject) -> tuple[nn.Module, Any]:
    """Build the model, in the subject's type, and whatever came with it.

    Raises:
        ProbeError: if build fails or returns something else.
    """
    seed_all(SEED)
    try:
        result = subject.build()
    except Exception as error:
        raise ProbeError(f"build() failed: {one_line(error)}.") from error
    model, optimizer = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not isinstance(model, nn.Module):
        raise ProbeError(
            f"build() returned {type(result).__name__}; expected (model, optimizer), "
            "the model a torch.nn.Module, a new one in every call."
        )
    return model.to(subject.dtype), optimizer


def run_once(
    subject: Subject,
    pieces: Sequence[MicroBatch],
    options: RunOptions,
    *,
    before: Sequence[MicroBatch] = (),
    trace: Trace | None = None,
    wrap: Callable[[nn.Module, Any], tuple[nn.Module, Any]] | None = None,
) -> Observation:
    """Build, run the user's code once over these micro-batches, and record what it did.

    Args:
        subject: the user's parts.
        pieces: the micro-batches.
        options: how the result is taken.
        before: a full window that comes first in the same run.
        trace: filled with what the run draws and computes in.
        wrap: wraps model and optimizer over ranks.

    Raises:
        ProbeError: if the user's code fails.
    """
    # outside of the trace, which would see the type that samples are stored in
    batches = _batches(subject, (*before, *pieces), options)
    model, optimizer = build_model(subject)
    start = fingerprint(model)
    if options.nudge:
        _nudge(model, dict(options.nudge))
    if wrap is not None:
        model, optimizer = wrap(model, optimizer)
    recorder = Recorder(model, restore=subject.window is not None, trace=trace)
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = _watched_updater(recorder, optimizer)
    with ExitStack() as stack:
        stack.enter_context(controlled(model, options.controls))
        if trace is not None:
            stack.enter_context(traced(model, trace))
        if options.poison is not None:
            stack.enter_context(_poisoned(model, pieces, options.poison))
        if options.touch is not None:
            stack.enter_context(options.touch(model))
        state = copy.deepcopy(model.state_dict()) if options.again else {}
        for call in range(2 if options.again else 1):
            if call > 0:
                model.load_state_dict(state)
                if options.again == "cleared":
                    model.zero_grad(set_to_none=True)
                recorder.steps.clear()
                recorder.counts.clear()
                batches = _batches(subject, (*before, *pieces), options)
            arguments = (model, optimizer, batches) if subject.kind == "step" else (model, batches)
            seed_all(options.seed)
            with recorder.watching(unclipped=options.controls.clip):
                value = subject.run(*arguments)
    loss = as_number(value)
    result = _observed(recorder, model, loss, start, 2.0**options.controls.shrink)
    return result if wrap is not None else _with_state(result, subject, recorder, optimizer)


def _batches(subject: Subject, pieces: Sequence[MicroBatch], options: RunOptions) -> list[Any]:
    """Return the batches of a run, changed where its options say so."""
    batches = [make_batch(subject, piece) for piece in pieces]
    return batches if options.edit is None else [options.edit(batch) for batch in batches]


def _watched_updater(recorder: Recorder, optimizer: Any) -> Any:
    step = getattr(optimizer, "step", None)
    inner = getattr(optimizer, "optimizer", None)
    if callable(step) and not isinstance(inner, torch.optim.Optimizer):
        optimizer.step = recorder.wrap_updater(step)
        return optimizer
    return recorder.wrap_updater(optimizer) if callable(optimizer) and step is None else optimizer


def as_number(result: Any) -> float | None:
    """Return the result of run as a float.

    Raises:
        ProbeError: if it is not a number.
    """
    if result is None:
        return None
    item = getattr(result, "item", None)
    try:
        return float(item() if callable(item) else result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ProbeError(
            f"run returned {type(result).__name__}; expected the loss that it reports, one "
            "number, or None."
        ) from error


def _observed(
    recorder: Recorder,
    model: nn.Module,
    loss: float | None,
    start: tuple[float, ...],
    enlarge: float,
) -> Observation:
    gradients = recorder.steps[-1] if recorder.steps else {}
    if enlarge != 1.0:
        gradients = {name: gradient * enlarge for name, gradient in gradients.items()}
    change = {}
    for name, param in model.named_parameters():
        difference = full(param.detach()) - full(recorder.start[id(param)])
        change[name.removeprefix("module.")] = difference
    clips, clamps = tuple(recorder.clips), tuple(recorder.clamps)
    return Observation(gradients, change, loss, len(recorder.steps), clips, start, clamps)


def _with_state(
    result: Observation, subject: Subject, recorder: Recorder, optimizer: Any
) -> Observation:
    if subject.kind == "step":
        model, start = recorder.model, recorder.start
        result.state = state_of(model, optimizer, result.gradients, start, subject.watch)
    return result


def _nudge(model: nn.Module, nudge: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name in nudge:
                param.add_(nudge[name].to(param))


def fingerprint(model: nn.Module) -> tuple[float, ...]:
    """Return numbers that two builds share exactly when their parameters do."""
    numbers = []
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point():
            flat = value.detach().flatten().double()
            signs = torch.cos(torch.arange(flat.numel(), dtype=torch.float64) + len(name))
            numbers += [float(flat.sum()), float(flat @ signs.to(flat.device))]
    return tuple(numbers)


def _poisoned(model: nn.Module, pieces: Sequence[MicroBatch], sample: int) -> ExitStack:
    """Make the model's output NaN for the batch that holds the sample."""
    target = next(i for i, piece in enumerate(pieces) if sample in piece.samples)
    calls = [0]

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        now = calls[0]
        calls[0] += 1
        return _all_nan(output) if now == target else output

    stack = ExitStack()
    stack.callback(model.register_forward_hook(hook).remove)
    return stack


def _all_nan(output: Any) -> Any:
    return tree_map(lambda leaf: leaf * float("nan") if leaf.is_floating_point() else leaf, output)

"""The start of a run, new or resumed, and what surrounds it until it ends.

A run is resumed with what it was begun with: fingerprints are compared, and what differs is named.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from batchproof._errors import (
    BatchproofError,
    CheckpointError,
    DataError,
    RunFolderError,
    SettingError,
)
from batchproof._random import deterministic, seed_everything
from batchproof._trees import digest
from batchproof.data import DatasetWindows
from batchproof.data._shards import refuse_repeated
from batchproof.ranks import blaming, in_a_group, is_first, is_sharded, on_first, rank, world_size
from batchproof.runs import History, Record, expect_free
from batchproof.runs import State as Weights
from batchproof.step import Windows as LoaderWindows
from batchproof.step import is_out_of_memory
from batchproof.train._batches import Epochs
from batchproof.train._checkpoints._checkpoint import Checkpoint
from batchproof.train._checkpoints._folder import Checkpoints
from batchproof.train._environment import describe_environment
from batchproof.train._fingerprint import dealt_again, differences, fingerprint_of_data, plain
from batchproof.train._first_batch import (
    data_summary,
    first_batch,
    layer_summary,
    model_summary,
)
from batchproof.train._loop import Ends, Loop, Windows, notify
from batchproof.train._options import Limits, Options, expect_positive
from batchproof.train._outputs._callback import Callback, Deadline, Outputs
from batchproof.train._outputs._loggers import Loggers, named_loggers
from batchproof.train._outputs._notebook import NotebookProgress
from batchproof.train._outputs._plot import LivePlot, in_notebook
from batchproof.train._outputs._progress import Display, NoProgress, Progress, progress_on
from batchproof.train._outputs._refusals import explaining
from batchproof.train._signals import Signals
from batchproof.train._state import Parts, State
from batchproof.train._validation import Validator

Resume = bool | str | PathLike[str] | None
ValidationData = Iterable[Any] | Mapping[str, Iterable[Any]] | None


@dataclass(frozen=True, slots=True)
class Setup:
    """The parts and options of a trainer.

    Attributes:
        parts: what is trained and by what.
        options: the trainer's.
        device: where it runs.
        made_with: the fingerprint of the trainer, as plain values.
        criterion: the loss as the user gave it.
        trial: whether nothing of the run is kept.
    """

    parts: Parts
    options: Options
    device: torch.device
    made_with: Mapping[str, Any]
    criterion: Any
    trial: bool = False


@contextmanager
def running(
    setup: Setup, train: Iterable[Any], val: ValidationData, ends: Ends, resume: Resume
) -> Iterator[Loop]:
    """Give a run that is begun or resumed, and close its files and outputs whatever happens.

    Args:
        setup: what the trainer is made of.
        train: the training data.
        val: the validation data, several by name, or None.
        ends: where training ends.
        resume: False or None to begin, True to resume run_dir, or the folder of a run to resume.
    """
    options, parts = setup.options, setup.parts
    vals = _by_name(val)
    _expect_an_end(ends)
    _expect_monitored(options, parts, vals)
    run_dir = _run_dir(options.saving.run_dir, resume)
    if run_dir is None and (options.saving.keep_best or options.saving.keep_every_steps):
        raise SettingError("weights are to be kept, but run_dir is None; pass run_dir to Trainer.")
    about = {name: part for name, part in setup.made_with.items() if name != "model"}
    loggers = named_loggers(options.reporting.loggers, run_dir, about)
    if options.compute.seed is not None:
        # ranks draw apart, so that no two drop the same units
        seed_everything(options.compute.seed + rank(options.group))
    _expect_data(train, vals, options)
    state = State(parts, *_epochs(train, vals, options.limits), options)
    checkpoints = Checkpoints(run_dir, options.group, sharded=is_sharded(parts.model))
    history = History(
        options.stopping.monitor,
        options.stopping.mode,
        run_dir=run_dir,
        _best_state=partial(_best_state, checkpoints, parts),
    )
    deadline = [] if ends.max_time is None else [Deadline(ends.max_time)]
    outputs = Outputs([*deadline, *_outputs(options, loggers, state, history, checkpoints)])
    signals = Signals(options.group)
    with deterministic(enabled=options.compute.deterministic), signals.watched():
        try:
            # a launcher signals the ranks that survive; the signal is held until they have named
            # the rank that failed
            with blaming(options.group):
                if not parts.model.training:
                    parts.model.train()
                parts.average.begin()
                loop = Loop(
                    state,
                    options,
                    ends,
                    setup.device,
                    outputs,
                    checkpoints,
                    signals,
                    history,
                    Validator(state, options, outputs, signals),
                )
                _notify_of_data(loop)
                checkpoint = _shared_checkpoint(loop, setup, resume)
                loop.first = _resume(loop, checkpoint) if checkpoint else _begin(loop, setup)
                yield loop
        finally:
            outputs.on_close()


def duration(max_time: float | timedelta | None) -> timedelta | None:
    """Return a time as a timedelta, where it is a number of seconds.

    Raises:
        SettingError: if it is no time above 0.
    """
    if max_time is None:
        return None
    try:
        time = max_time if isinstance(max_time, timedelta) else timedelta(seconds=max_time)
    except (TypeError, ValueError, OverflowError):
        time = timedelta(0)
    if time <= timedelta(0):
        raise SettingError(f"max_time is {max_time!r}; expected seconds above 0, or a timedelta.")
    return time


def _expect_an_end(ends: Ends) -> None:
    if ends == Ends(None, None):
        raise SettingError("fit was given no end; pass max_epochs, max_steps or max_time.")
    for name, value in (("max_epochs", ends.max_epochs), ("max_steps", ends.max_steps)):
        if value is not None:
            expect_positive(name, value)


def _by_name(val: ValidationData) -> dict[str, Iterable[Any]]:
    """Return the validation data by name, "" where they have none; empty without any.

    Raises:
        SettingError: if there are no names, or not such as a record may have.
    """
    if not isinstance(val, Mapping):
        return {} if val is None else {"": val}
    if not val:
        raise SettingError(
            "val is an empty mapping, so nothing would be validated; pass data by name, or None to "
            "train without."
        )
    for name in val:
        if not (isinstance(name, str) and name.isidentifier()):
            raise SettingError(
                f"val has the name {name!r}; expected words such as "
                '{"clean": loader, "noisy": loader}, whose means are val_clean_loss and so on.'
            )
    return dict(val)


def _expect_monitored(options: Options, parts: Parts, vals: Mapping[str, Any]) -> None:
    """Refuse to wait for a mean that no validation data give."""
    name = options.stopping.monitor
    if not name.startswith("val_") or options.limits.overfit_batches is not None:
        return
    waits = {
        "patience": options.stopping.patience is not None,
        "ReduceLROnPlateau": parts.schedule.plateau,
    }
    for who in (who for who, does in waits.items() if does and not vals):
        raise SettingError(
            f"{who} waits for {name}, but no validation data were given; "
            'pass val, or monitor="train_loss".'
        )
    prefixes = [f"val_{each}_" for each in vals if each]
    if prefixes and not name.startswith(tuple(prefixes)):
        raise SettingError(
            f"monitor is {name!r}, but the validation data have names; expected one that starts "
            f"with {' or '.join(prefixes)}, such as monitor={prefixes[0] + 'loss'!r}."
        )


def _expect_data(train: Iterable[Any], vals: Mapping[str, Any], options: Options) -> None:
    """Refuse to cut what gives windows already, and samples that count twice over ranks."""
    steps = options.steps
    if isinstance(train, LoaderWindows):
        raise SettingError(
            "the training data are windows of a loader; hand fit the loader, and accumulate and "
            "tokens to Trainer."
        )
    if isinstance(train, DatasetWindows) and (steps.accumulate, steps.tokens) != (1, None):
        raise SettingError(
            "the training data give windows already; leave accumulate and tokens out of Trainer."
        )
    if in_a_group(options.group) and options.limits.overfit_batches is None:
        refuse_repeated(train, evaluated=False)
        for val in vals.values():
            refuse_repeated(val, evaluated=True)


def _run_dir(setting: str | PathLike[str] | None, resume: Resume) -> Path | None:
    run_dir = None if setting is None else Path(setting)
    if resume is True and run_dir is None:
        raise SettingError("resume=True resumes run_dir, but it is None; pass run_dir to Trainer.")
    if not isinstance(resume, bool) and resume is not None:
        folder = Path(resume)
        if run_dir is not None and run_dir.resolve() != folder.resolve():
            raise SettingError(
                f"resume names {folder} but run_dir is {run_dir}; leave one of them out."
            )
        if not folder.is_dir():
            raise RunFolderError(f"{folder} is not a run folder; there is nothing to resume.")
        run_dir = folder
    if run_dir is not None:
        _expect_readable_name(run_dir)
    return run_dir


def _expect_readable_name(run_dir: Path) -> None:
    try:
        str(run_dir.absolute()).encode()
    except UnicodeEncodeError:
        raise SettingError(
            f"run_dir is {str(run_dir)!r}, whose name is not UTF-8, in which weights cannot be "
            "read; choose another name."
        ) from None


def _epochs(
    train: Iterable[Any], vals: Mapping[str, Iterable[Any]], limits: Limits
) -> tuple[Epochs, dict[str, Epochs]]:
    if limits.overfit_batches is not None:
        train = list(islice(iter(train), limits.overfit_batches))
        vals = {"": train}
    return (
        Epochs(train, limit=limits.limit_train_batches),
        {name: Epochs(val, limit=limits.limit_val_batches) for name, val in vals.items()},
    )


def _best_state(checkpoints: Checkpoints, parts: Parts) -> Weights | None:
    """Return the best weights as the model's load_state_dict takes them."""
    best = checkpoints.best_state()
    return None if best is None else parts.as_in_model(best)


def _outputs(
    options: Options,
    loggers: Sequence[Any],
    state: State,
    history: History,
    checkpoints: Checkpoints,
) -> list[Callback]:
    """Return the outputs of the run, in order; those that show or write are on rank 0 alone."""
    reporting = options.reporting
    log = [] if checkpoints.log is None else [checkpoints.log]
    if not is_first():
        return [*log, *reporting.callbacks]
    display = Display(shown(reporting.progress), state.position, state.running_means, state.so_far)

    def notice(text: str) -> None:
        history.notices.append(text)
        display.on_notice(text)

    plot = reporting.plot
    plots = [LivePlot(None if plot is True else Path(plot))] if plot else []
    services = [Loggers(loggers, notice)] if loggers else []
    return [*log, *reporting.callbacks, *services, *plots, display]


def shown(progress: bool | Console | Progress) -> Progress:  # noqa: FBT001
    """Return the display for the option `progress`."""
    if progress is False:
        return NoProgress()
    if progress is True:
        return NotebookProgress() if in_notebook() else progress_on(Console(stderr=True))
    return progress_on(progress) if isinstance(progress, Console) else progress


def _notify_of_data(loop: Loop) -> None:
    """Notify the user of the data, and of what is used otherwise than one may expect."""
    state = loop.state
    data = {"train": state.train, **{f"val {n}".strip(): val for n, val in state.vals.items()}}
    group = loop.options.group
    sizes = "; ".join(data_summary(name, epochs, group) for name, epochs in data.items())
    source = (loop.options.saving.info or {}).get("data")
    loop.outputs.on_notice(f"data: {source}; {sizes}" if source else f"data: {sizes}")
    if state.train.renews_workers:
        loop.outputs.on_notice(
            "persistent_workers: they restart with every epoch, so that a resumed run draws what "
            "the run would have drawn."
        )
    endless = state.train.batches is None and loop.ends.max_epochs is None
    if state.vals and endless and loop.options.validation.validate_every_steps is None:
        notify(
            loop,
            "the training loader does not say where an epoch ends: validation comes when it ends, "
            "or when training does, and patience counts nothing before. validate_every_steps=N "
            "validates every N steps; limit_train_batches=N makes an epoch of N batches.",
        )


def _begin(loop: Loop, setup: Setup) -> Windows:
    state = loop.state
    if loop.checkpoints.run_dir is not None and not setup.trial:
        state.train.expect_repeatable("training")
        for val in state.vals.values():
            val.expect_repeatable("validation")
    checkpoint = state.checkpoint()
    state.first_generators = checkpoint.rest["generators"] = state.train.generators()
    batches: list[Any] = []
    windows = loop.windows(_remembering_first(state.train.begin(0), batches))
    first = next(windows, None)
    if first is None:
        raise DataError("the training loader gave no batch; expected one or more.")
    if first:
        # of several ranks one may have no data
        state.fingerprint["first batch"] = digest(batches[0])
        line = _first_line(setup, first)
        loop.outputs.on_notice(f"{model_summary(setup.parts.model)}; on {setup.device}")
        loop.outputs.on_notice(line)
        if setup.options.reporting.summary:
            layers = layer_summary(setup.parts.model, setup.parts.loss, first[0])
            loop.outputs.on_notice(layers)
    loop.checkpoints.begin(checkpoint, _config(setup) if loop.checkpoints.log else {})
    return chain([first], windows)


def _first_line(setup: Setup, window: Sequence[Any]) -> str:
    """Return the line about the first batch, also where it does not fit in memory whole."""
    try:
        return first_batch(
            setup.parts.model,
            setup.parts.loss,
            window[0],
            criterion=setup.criterion,
            padding=getattr(window, "padding", None),
        )
    except (RuntimeError, MemoryError) as error:
        if setup.options.steps.out_of_memory == "raise" or not is_out_of_memory(error):
            raise
        return "first batch: it does not fit in memory whole"


def _remembering_first(items: Iterator[Any], batches: list[Any]) -> Iterator[Any]:
    """Yield what is drawn, and keep the first batch: as the loader gave it, not recut."""
    for batch in items:
        if not batches:
            batches.append(batch)
        yield batch


def _config(setup: Setup) -> dict[str, Any]:
    options = setup.options
    return {
        "config": plain(options.saving.config),
        "info": plain(options.saving.info),
        "seed": options.compute.seed,
        "initial seed": torch.initial_seed(),
        "environment": describe_environment(setup.device),
    }


def _resume(loop: Loop, checkpoint: Checkpoint) -> Windows | None:
    state = loop.state
    with _as_written(loop.checkpoints.run_dir):
        walk, notices = state.load(checkpoint)
    for notice in notices:
        notify(loop, notice)
    at = state.position
    if not at.batch:
        return None
    return loop.windows(state.train.resume(at.epoch, at.batch, walk), at.batch)


@contextmanager
def _as_written(run_dir: Path | None) -> Iterator[None]:
    """Raise the errors that an altered checkpoint causes as one that says so."""
    try:
        yield
    except (BatchproofError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{run_dir} cannot be resumed, for its checkpoint is not as it was written "
            f"({type(error).__name__}: {reason}); start a new run in another folder."
        ) from error


def _shared_checkpoint(loop: Loop, setup: Setup, resume: Resume) -> Checkpoint | None:
    """Return the checkpoint that rank 0 has read for every rank, None to begin."""
    fingerprint = loop.state.fingerprint
    fingerprint |= {**setup.made_with, **fingerprint_of_data(loop.state.train, loop.state.vals)}
    group, whole = loop.options.group, not is_sharded(setup.parts.model)

    def read() -> tuple[Checkpoint | None, Any, list[Record]]:
        checkpoint = _checkpoint(loop, setup, resume)
        over_ranks = checkpoint and whole and in_a_group(group)
        best = loop.checkpoints.best_state() if over_ranks else None
        return checkpoint, best, loop.history.records

    checkpoint, best, loop.history.records = on_first(read, group)
    if loop.checkpoints.log is None:
        loop.checkpoints.share_best(best)
    return checkpoint


def _checkpoint(loop: Loop, setup: Setup, resume: Resume) -> Checkpoint | None:
    """Return the checkpoint to resume from, None to begin; refuse another run's."""
    checkpoints, log = loop.checkpoints, loop.checkpoints.log
    if log is None:
        return None
    with explaining("resume in" if resume else "make", log.run_dir):
        exists = log.run_dir.exists() and any(log.run_dir.iterdir())
    if resume is None or resume is False or (resume is True and not exists):
        expect_free(log.run_dir)
        return None
    checkpoint, records = checkpoints.reopen()
    for text in checkpoints.notices:
        notify(loop, text)
    with _as_written(log.run_dir):
        _expect_same(loop, checkpoint, log.run_dir)
    loop.history.records += records
    step = checkpoint.rest["position"]["step"]
    loop.outputs.on_notice(f"resuming {log.run_dir} from step {step}")
    log.on_times({"resumed at step": step, **describe_environment(setup.device)})
    return checkpoint


def _expect_same(loop: Loop, checkpoint: Checkpoint, run_dir: Path) -> None:
    """Refuse a checkpoint of a run that was made with something else than this one."""
    then, now = checkpoint.rest["identity"], loop.state.fingerprint
    now["first batch"] = then["first batch"]
    as_many = len(checkpoint.rest["ranks"]) == world_size(loop.options.group)
    view = (lambda whole: whole) if as_many else dealt_again
    different = differences(view(then), view(now))
    if not different:
        now["first batch"] = loop.state.train.fingerprint(checkpoint.rest["generators"])
        different = differences(view(then), view(now))
    if different:
        more = f" (and {len(different) - 3} more)" if len(different) > 3 else ""
        raise CheckpointError(
            f"{run_dir} holds another run: {'; '.join(different[:3])}{more}. Resume "
            "with what it was made with, or start a new run in another folder."
        )

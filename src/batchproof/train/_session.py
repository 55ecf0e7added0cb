"""One call of fit: what surrounds the loop is put up, and taken down whatever happens."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from batchproof._errors import CheckpointError, RunFolderError, SettingError
from batchproof.ranks import blaming, in_a_group, is_first, is_sharded, on_first, rank, world_size
from batchproof.runs import History, RunFolder, State, expect_free
from batchproof.train._callback import Callback
from batchproof.train._environment import describe_environment
from batchproof.train._evaluate import By
from batchproof.train._fit import Fit
from batchproof.train._folder_keeper import FolderKeeper, best_in
from batchproof.train._identity import dealt_anew, differences, identity_of_data, plain
from batchproof.train._keeper import Checkpoint, MemoryKeeper, NoKeeper, ShardKeeper
from batchproof.train._loggers import Loggers, named_loggers
from batchproof.train._parts import Parts
from batchproof.train._plot import LivePlot
from batchproof.train._progress import NoProgress, Progress, progress_on
from batchproof.train._randomness import deterministic, seed_everything
from batchproof.train._sanity import first_batch, model_summary
from batchproof.train._settings import Settings, expect_positive
from batchproof.train._signals import Signals
from batchproof.train._sums import Groups
from batchproof.train._surroundings import Surroundings
from batchproof.train._walk import Walk

Resume = bool | str | PathLike[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """Where a run's numbers go; none of them changes a number.

    Attributes:
        run_dir: the run folder, or None.
        checkpoint_every_steps: steps between checkpoints within an epoch, or None.
        config: recorded, and compared on resume.
        info: recorded only.
        callbacks: told of everything.
        loggers: objects with .log(dict, step=), or "tensorboard".
        progress: True, False, a rich Console, or a Progress.
        plot: whether curves are drawn, or where to.
        by: the group of each sample of a validation batch.
        groups: the number of groups, or their names.
        group: the process group.
    """

    run_dir: str | PathLike[str] | None = None
    checkpoint_every_steps: int | None = None
    config: Mapping[str, Any] | None = None
    info: Mapping[str, Any] | None = None
    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Any] = ()
    progress: bool | Console | Progress = True
    plot: bool | str | PathLike[str] = False
    by: By | None = None
    groups: Groups | None = None
    group: Any = None

    def __post_init__(self) -> None:
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise SettingError(
                    f"callbacks holds {callback!r}; expected objects of batchproof.train.Callback. "
                    "Derive a class from it and override what you need."
                )


@dataclass(slots=True)
class Session:
    """One call of fit.

    Attributes:
        parts: what is trained.
        settings: what its numbers depend on.
        outlets: where they go.
        device: where it runs.
        made_with: what the trainer was made with, as plain values.
        criterion: the loss as it was handed in.
        history: what was measured.
        progress: what is shown.
    """

    parts: Parts
    settings: Settings
    outlets: Outlets
    device: torch.device
    made_with: Mapping[str, Any]
    criterion: Any
    history: History = field(default_factory=History)
    progress: Progress = field(default_factory=NoProgress)

    def run(
        self,
        train: Iterable[Any],
        val: Iterable[Any] | None,
        *,
        max_epochs: int | None,
        max_steps: int | None,
        resume: Resume,
    ) -> History:
        """Train to the end."""
        settings, outlets = self.settings, self.outlets
        self._expect_an_end(max_epochs, max_steps, val)
        run_dir = self._run_dir(resume)
        loggers = named_loggers(outlets.loggers, run_dir)
        self.progress = shown(outlets.progress)
        callbacks = [*outlets.callbacks, *self._own_callbacks(loggers)]
        if settings.seed is not None:
            # ranks draw apart, so that no two drop the same units
            seed_everything(settings.seed + rank(outlets.group))
        train_walk, val_walk = self._walks(train, val)
        keeper = self._keeper(run_dir)
        self.history = History(
            settings.monitor, settings.mode, run_dir=run_dir, _best_state=self._best_of(keeper)
        )
        identity = {**self.made_with, **identity_of_data(train_walk, val_walk)}
        with self._running(keeper) as signals:
            checkpoint = self._shared_checkpoint(keeper, resume, identity, train_walk)
            around = Surroundings(
                device=self.device,
                history=self.history,
                keeper=keeper,
                progress=self.progress,
                callbacks=callbacks,
                signals=signals,
                by=outlets.by,
                groups=outlets.groups,
                group=outlets.group,
                max_epochs=max_epochs,
                max_steps=max_steps,
                checkpoint_every_steps=outlets.checkpoint_every_steps,
                look=self._look,
                identity=identity,
            )
            return Fit(self.parts, settings, train_walk, val_walk, around).run(checkpoint)

    @contextmanager
    def _running(self, keeper: FolderKeeper | MemoryKeeper) -> Iterator[Signals]:
        if not self.parts.model.training:
            self.parts.model.train()
        signals = Signals(self.outlets.group)
        with deterministic(asked=self.settings.deterministic), signals.watched():
            try:
                # a launcher ends the ranks that are left by a signal, which waits here until they
                # have said for whose sake they end
                with blaming(self.outlets.group):
                    yield signals
            finally:
                self.progress.close()
                keeper.close()

    def _keeper(self, run_dir: Path | None) -> FolderKeeper | MemoryKeeper:
        outlets, sharded = self.outlets, is_sharded(self.parts.model)
        if run_dir is None:
            return MemoryKeeper()
        if not is_first():
            if sharded:
                return ShardKeeper(run_dir, outlets.group, lambda: best_in(run_dir))
            return NoKeeper(run_dir)
        return FolderKeeper(
            run_dir,
            {
                "config": plain(outlets.config),
                "info": plain(outlets.info),
                "seed": self.settings.seed,
                "initial seed": torch.initial_seed(),
                "environment": describe_environment(self.device),
            },
            outlets.group,
        )

    def _best_of(self, keeper: FolderKeeper | MemoryKeeper) -> Callable[[], State | None]:
        """Return what reads the best weights as the model's load_state_dict takes them."""

        def best_state() -> State | None:
            best = keeper.best_state()
            return None if best is None else self.parts.as_in_model(best)

        return best_state

    def _shared_checkpoint(
        self,
        keeper: FolderKeeper | MemoryKeeper,
        resume: Resume,
        identity: dict[str, Any],
        train: Walk,
    ) -> Checkpoint | None:
        """Return what every rank goes on from: what the writer has read."""
        if not in_a_group(self.outlets.group):
            return self._checkpoint(keeper, resume, identity, train)

        def read() -> tuple[Checkpoint | None, Any]:
            checkpoint = self._checkpoint(keeper, resume, identity, train)
            shared = checkpoint is not None and not is_sharded(self.parts.model)
            return checkpoint, keeper.best_state() if shared else None

        checkpoint, best = on_first(read, self.outlets.group)
        if isinstance(keeper, NoKeeper):
            keeper.take(best)
        return checkpoint

    def _checkpoint(
        self,
        keeper: FolderKeeper | MemoryKeeper,
        resume: Resume,
        identity: dict[str, Any],
        train: Walk,
    ) -> Checkpoint | None:
        """Return what to go on from, None to begin; refuse what is another run."""
        if not isinstance(keeper, FolderKeeper):
            return None
        begun = keeper.run_dir.exists() and any(keeper.run_dir.iterdir())
        if resume is None or resume is False or (resume is True and not begun):
            expect_free(keeper.run_dir)
            return None
        checkpoint = keeper.reopen()
        for notice in keeper.notices:
            self._notice(notice)
        then = checkpoint.rest["identity"]
        identity["first batch"] = then["first batch"]
        as_many = len(checkpoint.rest["ranks"]) == world_size(self.outlets.group)
        compared = (lambda whole: whole) if as_many else dealt_anew
        found = differences(compared(then), compared(identity))
        if not found:
            identity["first batch"] = train.fingerprint(checkpoint.rest["generators"])
            found = differences(compared(then), compared(identity))
        if found:
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            raise CheckpointError(
                f"{keeper.run_dir} was made otherwise: {'; '.join(found[:3])}{more}. Resume with "
                "what it was made with, or start a new run in another folder."
            )
        self.history.records += RunFolder(keeper.run_dir).records()
        at = checkpoint.rest["position"]
        self.progress.notice(f"going on with {keeper.run_dir} from step {at['step']}")
        keeper.time({"resumed at step": at["step"], **describe_environment(self.device)})
        return checkpoint

    def _run_dir(self, resume: Resume) -> Path | None:
        chosen = self.outlets.run_dir
        run_dir = None if chosen is None else Path(chosen)
        if resume is None or resume is False:
            return run_dir
        if resume is True:
            if run_dir is None:
                msg = "resume=True goes on with run_dir, but it is None; pass run_dir to Trainer."
                raise SettingError(msg)
            return run_dir
        given = Path(resume)
        if run_dir is not None and run_dir.resolve() != given.resolve():
            raise SettingError(
                f"resume names {given} but run_dir is {run_dir}; leave one of them out."
            )
        if not given.is_dir():
            raise RunFolderError(f"{given} is no run folder; there is nothing to go on with.")
        return given

    def _own_callbacks(self, loggers: Sequence[Any]) -> list[Callback]:
        if not is_first():
            return []
        plot = self.outlets.plot
        drawn = [LivePlot(None if plot is True else Path(plot))] if plot else []
        return [*([Loggers(loggers, self._notice)] if loggers else []), *drawn]

    def _walks(self, train: Iterable[Any], val: Iterable[Any] | None) -> tuple[Walk, Walk | None]:
        settings = self.settings
        if settings.overfit_batches is not None:
            train = val = list(islice(iter(train), settings.overfit_batches))
        return (
            Walk(train, limit=settings.limit_train_batches),
            None if val is None else Walk(val, limit=settings.limit_val_batches),
        )

    def _look(self, batch: Any) -> None:
        line = first_batch(self.parts.model, self.parts.loss, batch, criterion=self.criterion)
        self.progress.notice(f"{model_summary(self.parts.model)}; on {self.device}")
        self.progress.notice(line)

    def _notice(self, text: str) -> None:
        self.history.notices.append(text)
        self.progress.notice(text)

    def _expect_an_end(
        self, max_epochs: int | None, max_steps: int | None, val: Iterable[Any] | None
    ) -> None:
        if max_epochs is None and max_steps is None:
            msg = "fit was given no end; pass max_epochs or max_steps."
            raise SettingError(msg)
        counts = {
            "max_epochs": max_epochs,
            "max_steps": max_steps,
            "checkpoint_every_steps": self.outlets.checkpoint_every_steps,
        }
        for name, value in counts.items():
            if value is not None:
                expect_positive(name, value)
        settings = self.settings
        watches_val = settings.monitor.startswith("val_") and settings.overfit_batches is None
        if settings.patience is not None and val is None and watches_val:
            raise SettingError(
                f"patience waits for {settings.monitor}, but no validation data were given; "
                'pass val, or monitor="train_loss".'
            )


def shown(progress: bool | Console | Progress) -> Progress:  # noqa: FBT001
    """Return what shows progress, for what was asked."""
    if progress is False or not is_first():
        return NoProgress()
    if progress is True:
        return progress_on(Console(stderr=True))
    return progress_on(progress) if isinstance(progress, Console) else progress

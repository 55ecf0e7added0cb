"""The options that every recipe has, as one frozen value.

A recipe's `main` takes the Settings first, with its own defaults, and its own options after:

    def main(settings: Settings = Settings(epochs=12, lr=0.05), *, momentum: float = 0.9)

Training and evaluating a run are the same script: where a run is only to be evaluated,
`Settings.trainer` loads its best weights and `Settings.fit` does nothing, so both compute
the same numbers with the same code.
"""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from batchproof._errors import CheckpointError, SettingError
from batchproof.data import Batches
from batchproof.ranks import of_all
from batchproof.shell import Metavar
from batchproof.train import History, Progress, RunFolder, Trainer

SEEDS = 2**63


class Role(Enum):
    """The role of an option: whether run folders record it, and whether resuming may change it.

    No recorded option decides which code is imported, where files are written, or whether the
    network is used: those options come from the command line alone.
    """

    NUMBERS = "recorded; decides the numbers, so a resumed run keeps it"
    LIMIT = "recorded; where training ends"
    PLACE = "recorded; where the data is read"
    COMMAND = "not recorded; given by the command line alone"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options that every recipe has.

    Attributes:
        data: folder of the data files; None for the data that needs no files.
        out: run folder; None keeps nothing on disk.
        epochs: passes over the training data; None for no limit.
        max_steps: optimiser steps; None for no limit.
        batch_size: samples per micro-batch.
        accumulate: micro-batches an optimiser step.
        lr: learning rate.
        seed: of the weights, the order of the data and every draw.
        device: "auto", "cpu", "cuda", "cuda:1", "mps" ...
        precision: of the forward pass.
        compile: whether the model is compiled.
        resume: whether to resume the run in `out`.
        dry_run: whether to try one batch of everything and keep nothing.
        overfit_batches: train on this many batches only, again and again; 0 for all.
        limit_train_batches: batches per epoch; 0 for all.
        plot: whether to draw curves while training.
        summary: whether to show the model's layers with their shapes.
        logger: further loggers, by name.
        download: whether to fetch missing files from their public mirrors.
        evaluate: whether the best weights of the run in `out` are loaded in place of training.
        record: the run folder's record of the recipe, by which it can be run again.
        begun_with: epochs and max_steps that a resumed run was begun with.
        progress: whether to show progress, or the object that shows it.

    Raises:
        SettingError: if a number is invalid.
    """

    data: Annotated[
        Path | None,
        Metavar("DIR"),
        Role.PLACE,
        "folder that holds the data files; without it, none are needed",
    ] = None
    out: Annotated[
        Path | None,
        Metavar("RUN"),
        Role.COMMAND,
        "new run folder; by default runs/RECIPE, runs/RECIPE-2 ...",
    ] = None
    epochs: Annotated[int | None, Metavar("N"), Role.LIMIT, "passes over the training data"] = None
    max_steps: Annotated[
        int | None, Metavar("N"), Role.LIMIT, "optimiser steps, in place of epochs"
    ] = None
    batch_size: Annotated[int, Metavar("N"), "samples per micro-batch"] = 64
    accumulate: Annotated[int, Metavar("N"), "micro-batches an optimiser step"] = 1
    lr: Annotated[float, Metavar("RATE"), "learning rate: step size over gradient of the mean"] = (
        0.01
    )
    seed: Annotated[int, Metavar("N"), "seed of weights, order of data and draws"] = 0
    device: Annotated[str, Metavar("NAME"), Role.COMMAND, "auto, cpu, cuda, cuda:1, mps, ..."] = (
        "auto"
    )
    precision: Annotated[Literal["fp32", "bf16", "fp16"], "number format of the forward pass"] = (
        "fp32"
    )
    compile: Annotated[bool, "compile the model with torch.compile"] = False
    resume: Annotated[bool, Role.COMMAND, "resume RUN, or the recipe's latest run"] = False
    dry_run: Annotated[bool, Role.COMMAND, "one batch of everything; keep nothing"] = False
    overfit_batches: Annotated[int, Metavar("N"), "train on the first N batches only; 0: all"] = 0
    limit_train_batches: Annotated[int, Metavar("N"), "batches per epoch; 0: all"] = 0
    plot: Annotated[bool, Role.COMMAND, "draw the curves while training"] = False
    summary: Annotated[bool, Role.COMMAND, "show the model's layers with their shapes"] = False
    logger: Annotated[
        tuple[str, ...],
        Metavar("NAME"),
        Role.COMMAND,
        "tensorboard, wandb, ..., or MODULE:OBJECT with .log; may be repeated",
    ] = ()
    download: Annotated[bool, Role.COMMAND, "fetch missing files of DIR from public mirrors"] = (
        False
    )
    evaluate: bool = False
    record: Mapping[str, Any] | None = None
    begun_with: Mapping[str, int | None] | None = None
    progress: bool | Progress = True

    def __post_init__(self) -> None:
        for name in ("epochs", "max_steps", "batch_size", "accumulate"):
            self._at_least(1, name)
        for name in ("seed", "overfit_batches", "limit_train_batches"):
            self._at_least(0, name)
        if self.seed >= SEEDS:
            raise SettingError(f"seed is {self.seed}; expected less than 2**63.")
        if not 0 < self.lr < float("inf"):
            raise SettingError(f"lr is {self.lr}; expected a positive number, such as 0.01.")
        if self.epochs is None and self.max_steps is None:
            raise SettingError("neither epochs nor max_steps is given; give one of them.")
        if self.download and self.data is None:
            raise SettingError(
                "download was requested without a data folder; give one: --data DIR."
            )

    def _at_least(self, least: int, name: str) -> None:
        value = getattr(self, name)
        if value is not None and value < least:
            raise SettingError(f"{name} is {value}; expected {least} or more.")

    def batches(
        self,
        *columns: Any,
        shuffle: bool = False,
        transform: Callable[[tuple[Any, ...]], Any] | None = None,
    ) -> Batches:
        """Return batches of batch_size from memory, in the order that seed and epoch give.

        A dry run gets one step's batches to train on, one batch of everything else.
        """
        if self.dry_run:
            few = self.batch_size * (self.accumulate if shuffle else 1)
            columns = tuple(column[:few] for column in columns)
        return Batches(
            *columns,
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            transform=transform,
        )

    def folder(self, source: str) -> Path:
        """Return the data folder, for files that are published but not fetched by batchproof.

        Args:
            source: where they are published.

        Raises:
            SettingError: if there is no data folder, or download was requested.
        """
        if self.data is None or self.download:
            raise SettingError(
                f"download is not offered for these files; put them in DIR yourself, from {source}."
            )
        return self.data

    def steps(self, loader: Sized) -> int:
        """Return the number of optimiser steps of a training, for schedules that end with it.

        A schedule keeps its end when a run is resumed, so a run of 12 epochs that was interrupted
        equals one that was not. A resumed run may stop earlier, but not later.

        Raises:
            CheckpointError: if a run is resumed for longer than its schedule.
        """
        limits = [n for n in (self.limit_train_batches, self.overfit_batches) if n]
        # the rank with the most batches decides, so that all ranks have one schedule
        batches = max(of_all(len(loader)))
        windows = -(-min(batches, *limits, batches) // self.accumulate)
        total = _ends(windows, self.epochs, self.max_steps)
        if self.begun_with is None:
            return total
        end = _ends(windows, **self.begun_with)
        if total > end:
            raise CheckpointError(
                f"the run in {self.out} was begun with a learning rate whose schedule ends at step "
                f"{end}, before step {total}; leave --epochs and --max-steps out, or start "
                "a new run with another --out."
            )
        return end

    def trainer(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        *,
        data: str = "",
        part: str | None = None,
        **more: Any,
    ) -> Trainer:
        """Return a Trainer with these settings.

        Args:
            model: the model to train.
            loss: called as loss(model, batch).
            optimizer: a torch optimiser, or an updater.
            data: the name of the data, for the record in the run folder.
            part: the subfolder of the run folder, where a recipe trains several models.
            more: further arguments of Trainer.
        """
        folder = self.out if self.out is None or part is None else self.out / part
        trainer = Trainer(
            model,
            loss,
            optimizer,
            accumulate=self.accumulate,
            precision=self.precision,
            device=self.device,
            compile=self.compile,
            seed=self.seed,
            limit_train_batches=self.limit_train_batches or None,
            overfit_batches=self.overfit_batches or None,
            run_dir=folder,
            loggers=[_logger(name) for name in self.logger],
            plot=self.plot,
            summary=self.summary,
            progress=self.progress,
            info={**(self.record or {}), "data": data} | ({} if part is None else {"part": part}),
            **more,
        )
        if self.evaluate:
            assert folder is not None
            trainer.load_weights(RunFolder(folder).weights())
        return trainer

    def fit(self, trainer: Trainer, train: Any, val: Any) -> History | None:
        """Train, and leave the best weights in the model.

        Returns:
            The history; None where a run is only evaluated, with its weights loaded already, or in
            a dry run.
        """
        if self.evaluate:
            return None
        if self.dry_run:
            trainer.dry_run(train, val)
            return None
        history = trainer.fit(
            train, val, max_epochs=self.epochs, max_steps=self.max_steps, resume=self.resume
        )
        best = history.best_state()
        if best is not None:
            trainer.load_weights(best)
        return history


def _ends(windows: int, epochs: int | None, max_steps: int | None) -> int:
    of_epochs = [] if epochs is None else [epochs * windows]
    return min(n for n in (*of_epochs, max_steps) if n is not None)


def _logger(name: str) -> Any:
    """Return a logger by name: "tensorboard", or the object that MODULE:OBJECT names."""
    module, _, attribute = name.partition(":")
    if not attribute:
        return name
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"logger {name} cannot be imported ({error}); expected MODULE:OBJECT with a method "
            ".log(dict, step=), or tensorboard."
        ) from error

"""Check a transformers Trainer as it is: its own training step, and its own evaluation.

The probe takes the user's Trainer and lets it train one step for each cut, through its own
`get_batch_samples`, `num_items_in_batch`, `training_step`, clipping and optimizer. Only this is
held: the micro-batches are those of the cut, the learning rate keeps its first value, callbacks
are left out, nothing is saved. The reported loss is the one that the Trainer logs. An evaluation
runs through `Trainer.evaluate`, with the Trainer's own loader, sampler and gathering.

What the Trainer does: a model whose forward takes **kwargs is trusted to divide its sum by
`num_items_in_batch`. A head that does so is exact. One that does not returns a mean for each
micro-batch, and those are added up and never divided. `evaluate` averages means of batches, each
counted as often as a batch has samples, and leaves out those that are not finite.

`exactly(trainer)` makes it exact where it is wrong, and `ExactTrainer` is the same as a class; see
_exact_trainer.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import nn
    from torch.optim import Optimizer
    from torch.utils.data import BatchSampler

from batchproof._errors import SettingError, kind_of
from batchproof.check import Probe
from batchproof.integrations._exact_trainer import ExactTraining, refuse_unsupported
from batchproof.integrations._given import (
    Factory,
    count_of,
    framework,
    loader_of,
    rows_of,
    stack,
)
from batchproof.mistakes import Remedy

_EXACT = Remedy(
    "Make the Trainer exact; its loop and everything around it stay its own.",
    "from batchproof.integrations.transformers import exactly\n"
    "\n"
    "trainer = exactly(Trainer(model, args, ...))",
)
_OF_STEP = dict.fromkeys(
    (
        *("not-divided", "fixed-window-size", "mean-of-micro-batch-means", "padding-counted"),
        *("empty-micro-batch-nan", "world-size-factor", "weight-per-micro-batch"),
        "term-scaled-apart",
    ),
    _EXACT,
)
_OF_EVALUATION = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "duplicated-samples", "padding-counted"),
        *("world-size-factor", "weight-per-micro-batch", "nan-batch-dropped"),
    ),
    _EXACT,
)


def exactly(trainer: Any, *, tokens: int | None = None, lengths: Any = None) -> Any:
    """Make a Trainer's steps and evaluations those of one mean, however its data is cut.

    Everything else stays the Trainer's own: clipping, optimizer, schedule, logging, checkpoints,
    callbacks, resuming. Its class is replaced by a subclass of the same name.

    Args:
        trainer: a transformers.Trainer, or of a class derived from it.
        tokens: the most positions of a micro-batch, its rows times its longest sample: every window
            is cut again within it, and its padding trimmed. Without it batches stay as they are.
        lengths: lengths(batch) -> one number per sample, where recut cannot read them.

    Returns:
        The trainer itself.

    Raises:
        SettingError: if it is not a Trainer, or one of which no exact step can be made.
        ProbeError: if transformers is not installed.
    """
    kind = type(trainer)
    if not isinstance(trainer, framework("transformers", "transformers").Trainer):
        raise SettingError(
            f"exactly was given {kind_of(trainer)}; expected a transformers.Trainer."
        )
    if not issubclass(kind, ExactTraining):
        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        trainer.__class__ = type(kind.__name__, (ExactTraining, kind), names)
    trainer.tokens, trainer.lengths = tokens, lengths
    refuse_unsupported(trainer)
    return trainer


def __getattr__(name: str) -> Any:
    if name != "ExactTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    trainer = framework("transformers", "transformers").Trainer
    globals()[name] = type(
        name, (ExactTraining, trainer), {"__module__": __name__, "__doc__": exactly.__doc__}
    )
    return globals()[name]


def probe_step(trainer: Any, samples: Sequence[Any] | None = None, **settings: Any) -> Probe:
    """Return a probe of a Trainer's own training step.

    Args:
        trainer: a transformers.Trainer, or a function without arguments that makes one; several
            ranks need a function at the top level of a module.
        samples: a handful of samples; the first eight of the Trainer's train_dataset where not
            given.
        **settings: as for batchproof.check.Probe: cuts, ranks, dtype, mask, window, ...; with
            window=k every step accumulates k micro-batches, as gradient_accumulation_steps does.

    Returns:
        A probe, for `.check()` or `batchproof check MODULE:NAME`.

    Raises:
        ProbeError: if transformers is not installed.
    """
    factory = _factory(trainer)
    return Probe(
        _Step(factory, settings.get("window")),
        samples if samples is not None else _Samples(factory, "train_dataset", 8),
        _Build(factory),
        _Collate(factory),
        wrap=None,
        remedies=_OF_STEP,
        **settings,
    )


def probe_evaluate(
    trainer: Any, samples: Sequence[Any] | None = None, *, metric: str = "loss", **settings: Any
) -> Probe:
    """Return a probe of a Trainer's own evaluate.

    Args:
        trainer: a transformers.Trainer, or a function without arguments that makes one.
        samples: a handful of samples; the first nine of the eval_dataset where not given.
        metric: the number that is checked, without its prefix.
        **settings: as for batchproof.check.Probe.

    Returns:
        A probe.

    Raises:
        ProbeError: if transformers is not installed.
    """
    factory = _factory(trainer)
    return Probe(
        _Evaluate(factory, metric),
        samples if samples is not None else _Samples(factory, "eval_dataset", 9),
        _Build(factory),
        _Collate(factory),
        kind="evaluate",
        shards=shares,
        remedies=_OF_EVALUATION,
        **settings,
    )


def _factory(trainer: Any) -> Factory:
    kind = framework("transformers", "transformers").Trainer
    return Factory(trainer, kind, "a transformers.Trainer, or a function that makes one")


@dataclass(frozen=True)
class _Samples:
    factory: Factory
    dataset: str
    most: int

    def __call__(self) -> list[Any]:
        dataset = getattr(self.factory(), self.dataset)
        return [dataset[i] for i in range(min(self.most, len(dataset)))]


@dataclass(frozen=True)
class _Collate:
    """The Trainer's collator, with the columns removed that its model does not take."""

    factory: Factory

    def __call__(self, samples: list[Any]) -> Any:
        return self.factory().get_test_dataloader(samples).collate_fn(samples)


@dataclass(frozen=True)
class _Build:
    """The Trainer's model, and its optimizer or the one that it would make."""

    factory: Factory

    def __call__(self) -> tuple[nn.Module, Optimizer]:
        trainer = self.factory()
        # one copy of both, so that the optimizer holds the parameters of this model,
        # and without the wrapper that a Trainer leaves on it after training
        original = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        model, optimizer = copy.deepcopy((trainer.model, original))
        if optimizer is None:
            maker = copy.copy(trainer)
            maker.model = model
            optimizer = maker.create_optimizer()
        return model, optimizer


@dataclass(frozen=True)
class _Step:
    """One call of Trainer.train, one optimizer step long, or one per window."""

    factory: Factory
    window: int | None

    def __call__(self, model: nn.Module, optimizer: Optimizer, micro_batches: list[Any]) -> float:
        accumulate = self.window or count_of(micro_batches, "transformers.Trainer")
        steps = -(-len(micro_batches) // accumulate)
        stage = _stage(
            self.factory(),
            model,
            optimizer,
            gradient_accumulation_steps=accumulate,
            max_steps=steps,
            logging_strategy="steps",
            logging_steps=1,
            # else a loss that is not finite is reported as the average of those before it
            logging_nan_inf_filter=False,
        )
        # not prepared by accelerate, which would share out what is this rank's own already
        loader = loader_of(micro_batches)
        stage.get_train_dataloader = lambda: loader
        stage.train()
        return float([entry["loss"] for entry in stage.state.log_history if "loss" in entry][-1])


@dataclass(frozen=True)
class _Evaluate:
    """One call of Trainer.evaluate over the rows of the batches, at the batches' size."""

    factory: Factory
    metric: str

    def __call__(self, model: nn.Module, batches: list[Any]) -> float:
        rows, size = rows_of(batches)
        stage = _stage(
            self.factory(),
            model,
            None,
            per_device_eval_batch_size=size,
            remove_unused_columns=False,
        )
        stage.data_collator = stack
        return float(stage.evaluate(eval_dataset=rows)[f"eval_{self.metric}"])


def shares(count: int, size: int, world: int) -> list[list[tuple[tuple[int, ...], int]]]:
    """Return the batches that make evaluate's number, each with how often its mean is counted.

    accelerate deals batches out in turn and fills the last ones up with the first samples. Each
    rank's mean is repeated as often as a batch has samples; of what all ranks give last, as many
    are kept as there are samples left.

    Args:
        count: number of samples.
        size: of a batch.
        world: number of ranks.
    """
    loaders = framework("accelerate.data_loader", "transformers")
    dealt = [
        list(loaders.BatchSamplerShard(BatchSampler(range(count), size, drop_last=False), world, r))
        for r in range(world)
    ]
    dealt_out: list[tuple[tuple[int, ...], int]] = []
    rest = count
    for turn in zip(*dealt, strict=True):
        for batch in turn:
            dealt_out.append((tuple(batch), min(size, rest)))
            rest -= min(size, rest)
    return [dealt_out] * world


def _stage(trainer: Any, model: nn.Module, optimizer: Optimizer | None, **changes: Any) -> Any:
    """Return the user's Trainer over another model and optimizer, silent and with nothing kept."""
    callbacks = framework("transformers.trainer_callback", "transformers")
    stage = copy.copy(trainer)
    stage.args = copy.copy(trainer.args)
    quiet = {
        "disable_tqdm": True,
        "eval_on_start": False,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "logging_strategy": "no",
        "push_to_hub": False,
        "save_strategy": "no",
    }
    for name, value in {**quiet, **changes}.items():
        setattr(stage.args, name, value)
    stage.model = stage.model_wrapped = model
    stage.model_init = None
    stage.optimizer, stage.lr_scheduler = optimizer, _constant(optimizer)
    stage.callback_handler = callbacks.CallbackHandler(
        [callbacks.DefaultFlowCallback()],
        model,
        stage.processing_class,
        optimizer,
        stage.lr_scheduler,
    )
    stage.control = callbacks.TrainerControl()
    stage.state = callbacks.TrainerState()
    stage.create_accelerator_and_postprocess()
    # a fresh accelerator holds nothing; freeing it would collect garbage in every step
    stage.accelerator.free_memory = _keep
    return stage


def _constant(optimizer: Optimizer | None) -> Any:
    if optimizer is None:
        return None
    return torch.optim.lr_scheduler.LambdaLR(optimizer, _one)


def _one(_step: int) -> float:
    return 1.0


def _keep(*objects: Any) -> tuple[Any, ...]:
    return objects

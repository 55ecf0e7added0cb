"""Check a LightningModule as it is, under the Trainer that trains and validates it.

The probe hands the module and the optimizer that its `configure_optimizers` makes to a Trainer of
the same settings, once for each cut, with `accumulate_grad_batches` as large as the cut has
micro-batches (or as the window). Validation runs through `Trainer.validate`, with the sampler that
Lightning itself puts in on several ranks.

What Lightning does: it divides every micro-batch's loss by `accumulate_grad_batches`, also in a
last window that has fewer, whatever their sizes. A logged value is averaged over batches weighted
by their number of samples, within a rank; with `sync_dist` the ranks' averages are averaged, and
its sampler repeats samples so that all ranks have equally many.

`Trainer(callbacks=[Exact()])` makes all of it exact; see _exact_lightning.
"""

import copy
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from torch import nn
    from torch.optim import Optimizer
    from torch.utils.data import DataLoader, DistributedSampler, default_collate

from batchproof._errors import ProbeError
from batchproof.check import Probe
from batchproof.integrations._exact_lightning import Exactly
from batchproof.integrations._given import Factory, count_of, framework, loader_of, rows_of, stack
from batchproof.mistakes import Remedy
from batchproof.ranks import world_size

_KEPT = ("gradient_clip_val", "gradient_clip_algorithm")
_QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


_EXACT = Remedy(
    "Add the callback that makes windows and logged means exact; optimisation stays automatic.",
    "from batchproof.integrations.lightning import Exact\n\nTrainer(..., callbacks=[Exact()])",
)
_OF_STEP = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "weight-per-micro-batch", "fixed-window-size"),
        *("empty-micro-batch-nan", "reported-loss", "term-scaled-apart", "world-size-factor"),
    ),
    _EXACT,
)
_OF_EVALUATION = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "weight-per-micro-batch", "duplicated-samples"),
        *("one-micro-batch-only", "empty-micro-batch-nan"),
    ),
    _EXACT,
)


def __getattr__(name: str) -> Any:
    if name != "Exact":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    callback = framework("lightning.pytorch", "lightning").Callback
    globals()[name] = type(name, (Exactly, callback), {"__module__": __name__})
    return globals()[name]


def probe_step(
    module: Any,
    samples: Sequence[Any] | Callable[[], Sequence[Any]],
    *,
    trainer: Any = None,
    collate: Callable[[list[Any]], Any] = default_collate,
    reported: str = "train_loss",
    **settings: Any,
) -> Probe:
    """Return a probe of a LightningModule's training step under its Trainer.

    Args:
        module: a LightningModule, or a function without arguments that makes one; several ranks
            need a function at the top level of a module.
        samples: a handful of samples, or a function that returns them.
        trainer: a Trainer, whose clipping and precision are kept; or a function that makes one
            of the keywords it is given, such as functools.partial(Trainer, precision="bf16-mixed").
        collate: makes a batch of a list of samples.
        reported: the name under which training_step logs its loss, if it does.
        **settings: as for batchproof.check.Probe: cuts, ranks, dtype, mask, pad; with window=k
            accumulate_grad_batches is k throughout, also where fewer micro-batches are left.

    Returns:
        A probe, for `.check()` or `batchproof check MODULE:NAME`.

    Raises:
        ProbeError: if Lightning is not installed.
    """
    factory = _factory(module)
    step = _Step(_trainers(trainer), reported, settings.get("window"))
    build = _Build(factory)
    return Probe(step, samples, build, collate, wrap=None, remedies=_OF_STEP, **settings)


def probe_evaluate(
    module: Any,
    samples: Sequence[Any] | Callable[[], Sequence[Any]],
    *,
    trainer: Any = None,
    collate: Callable[[list[Any]], Any] = default_collate,
    metric: str = "val_loss",
    **settings: Any,
) -> Probe:
    """Return a probe of a LightningModule's validation under its Trainer.

    Args:
        module: as for probe_step.
        samples: a handful of samples, or a function that returns them.
        trainer: as for probe_step.
        collate: makes a batch of a list of samples.
        metric: the name under which validation_step logs the number that is checked.
        **settings: as for batchproof.check.Probe.

    Returns:
        A probe.

    Raises:
        ProbeError: if Lightning is not installed.
    """
    run = _Evaluate(_trainers(trainer), metric)
    build = _Build(_factory(module), optimizers=False)
    return Probe(
        run,
        samples,
        build,
        collate,
        kind="evaluate",
        shards=shares,
        remedies=_OF_EVALUATION,
        **settings,
    )


def _factory(module: Any) -> Factory:
    kind = framework("lightning.pytorch", "lightning").LightningModule
    return Factory(module, kind, "a LightningModule, or a function that makes one")


def _trainers(trainer: Any) -> Callable[..., Any]:
    lightning = framework("lightning.pytorch", "lightning")
    if trainer is None:
        return lightning.Trainer  # type: ignore[no-any-return]
    if not isinstance(trainer, lightning.Trainer):
        return trainer  # type: ignore[no-any-return]
    settings = {name: getattr(trainer, name) for name in _KEPT}
    return functools.partial(lightning.Trainer, precision=trainer.precision, **settings)


@dataclass(frozen=True)
class _Build:
    """The module, and the one optimizer that it configures."""

    factory: Factory
    optimizers: bool = True

    def __call__(self) -> tuple[nn.Module, Optimizer | None]:
        module = copy.deepcopy(self.factory())
        if not self.optimizers:
            return module, None
        configured = module.configure_optimizers()
        if isinstance(configured, tuple) and configured:
            configured = configured[0]
        if isinstance(configured, dict):
            configured = configured["optimizer"]
        if isinstance(configured, list) and len(configured) == 1:
            configured = configured[0]
        if not isinstance(configured, Optimizer):
            raise ProbeError(
                f"configure_optimizers of {type(module).__name__} gives "
                f"{type(configured).__name__}; expected one optimizer. Check a module of several "
                "optimizers with check_step and a step of its own."
            )
        return module, configured


@dataclass(frozen=True)
class _Step:
    """One call of Trainer.fit, one optimizer step long, or one per window."""

    trainers: Callable[..., Any]
    log_name: str
    window: int | None

    def __call__(self, module: Any, optimizer: Any, micro_batches: list[Any]) -> float | None:
        module.configure_optimizers = lambda: optimizer
        accumulate = self.window or count_of(micro_batches, "Lightning")
        with _quietly():
            trainer = self.trainers(
                accumulate_grad_batches=accumulate,
                max_epochs=1,
                limit_val_batches=0,
                use_distributed_sampler=False,
                **_launched(),
                **_QUIET,
            )
            trainer.fit(module, loader_of(micro_batches))
        value = trainer.callback_metrics.get(self.log_name)
        return None if value is None else float(value)


@dataclass(frozen=True)
class _Evaluate:
    """One call of Trainer.validate; on several ranks Lightning's own sampler shares the rows."""

    trainers: Callable[..., Any]
    metric: str

    def __call__(self, module: Any, batches: list[Any]) -> float:
        loader = loader_of(batches)
        if world_size() > 1:
            rows, size = rows_of(batches)
            loader = DataLoader(rows, batch_size=size, collate_fn=stack)  # type: ignore[arg-type]
        with _quietly():
            trainer = self.trainers(**_launched(), **_QUIET)
            (metrics,) = trainer.validate(module, loader, verbose=False)
        if self.metric not in metrics:
            raise ProbeError(
                f"validation_step logs {', '.join(metrics) or 'nothing'} but not "
                f"{self.metric!r}; name what it logs: metric=..."
            )
        return float(metrics[self.metric])


def shares(count: int, size: int, world: int) -> list[list[tuple[tuple[int, ...], int]]]:
    """Return the batches that make each rank's number, each with how many samples it counts for.

    Args:
        count: number of samples.
        size: of a batch.
        world: number of ranks.
    """
    parts = []
    for rank in range(world):
        sampler: Any = DistributedSampler(range(count), world, rank, shuffle=False)  # type: ignore[arg-type]
        own = list(sampler)
        batches = [tuple(own[at : at + size]) for at in range(0, len(own), size)]
        parts.append([(batch, len(batch)) for batch in batches])
    return parts


def _launched() -> dict[str, Any]:
    """Return the settings of a Trainer on this machine: one process, or the ranks there are."""
    if world_size() == 1:
        return {"accelerator": "cpu", "devices": 1}
    environments = framework("lightning.pytorch.plugins.environments", "lightning")
    return {
        "accelerator": "cpu",
        "devices": world_size(),
        "strategy": "ddp",
        "plugins": [environments.TorchElasticEnvironment()],
    }


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what Lightning says of devices, workers and validation that was not asked for."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

"""Check ignite engines and metrics, as they are, and make them exact.

    trainer = Engine(update(step, loss));  trainer.run(windows(loader, accumulate=4), max_epochs=3)
    ExactLoss(criterion).attach(evaluator, "loss")

A trainer is made by the user's own function for each cut, since an Engine holds the model that
its process function was made with. An evaluator is given the same way, or as the Engine itself.

What ignite does: `create_supervised_trainer` divides each micro-batch's loss by
`gradient_accumulation_steps`, whatever its size, and hands on the loss of the last one; over
micro-batches left over at the end of an epoch it takes no step. `Loss`
weights each batch's mean by its number of rows, which is not what a criterion with class weights
or an ignored index divides by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.data import default_collate

from batchproof._errors import ProbeError, SettingError, kind_of
from batchproof._trees import to_device
from batchproof.check import Probe, Report
from batchproof.integrations._given import cast, count_of, framework
from batchproof.integrations._open_window import left_open
from batchproof.mean import Mean, exact, exact_dtype
from batchproof.mistakes import Remedy

_WINDOWS = Remedy(
    "Let a window be the engine's batch, and batchproof's Step take the step over it.",
    "from batchproof.integrations.ignite import update\n"
    "\n"
    "trainer = Engine(update(step, loss))   # step: batchproof.Step\n"
    "trainer.run(batchproof.windows(loader, accumulate=k))",
)
_METRIC = Remedy(
    "Attach a metric that keeps sums and weights.",
    "from batchproof.integrations.ignite import ExactLoss\n"
    "\n"
    'ExactLoss(criterion).attach(evaluator, "loss")',
)
_OF_STEP = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "weight-per-micro-batch", "fixed-window-size"),
        *("empty-micro-batch-nan", "reported-loss"),
    ),
    _WINDOWS,
)
_OF_EVALUATION = dict.fromkeys(
    ("mean-of-micro-batch-means", "weight-per-micro-batch", "empty-micro-batch-nan"), _METRIC
)


def update(
    step: Any, loss: Callable[..., Any], *, device: torch.device | str | None = None
) -> Callable[[Any, Any], float]:
    """Return the process function of an Engine whose batches are windows.

    Args:
        step: a batchproof.Step.
        loss: loss(model, batch) -> Mean, as the step takes it.
        device: where each window is moved to; None to leave it.

    Returns:
        update(engine, window) -> the mean over the window, of all ranks.

    Examples:
        trainer = Engine(update(step, loss))
        trainer.run(batchproof.windows(loader, accumulate=4), max_epochs=3)
    """

    def process(engine: Any, window: Any) -> float:  # noqa: ARG001
        if not isinstance(window, list):
            raise SettingError(
                f"the engine's batch is {kind_of(window)}; expected a window. Run it over "
                "batchproof.windows(loader, accumulate=...)."
            )
        batches = window if device is None else to_device(window, torch.device(device))
        value: float = step(batches, loss).loss.item()
        return value

    return process


class LossSums:
    """The sums of a loss; comes before ignite's Metric among the bases of `ExactLoss`.

    Args:
        criterion: of torch, with reduction="mean"; None where the engine's output is a Mean.
        **settings: of ignite's Metric: output_transform, device.
    """

    def __init__(self, criterion: Any = None, **settings: Any) -> None:
        self._pairs = None if criterion is None else exact(criterion)
        super().__init__(**settings)

    def reset(self) -> None:
        """Begin with no losses."""
        device = torch.device(self._device)  # type: ignore[attr-defined]
        self._sums = torch.zeros(2, dtype=exact_dtype(device), device=device)

    def update(self, output: Any) -> None:
        """Add a batch.

        Args:
            output: (y_pred, y), or a Mean.

        Raises:
            SettingError: if it is neither.
        """
        if not isinstance(output, Mean) and self._pairs is None:
            raise SettingError(
                f"update was given {kind_of(output)}, and there is no criterion; expected "
                "a batchproof.Mean. Give the criterion: ExactLoss(criterion)."
            )
        mean = output if isinstance(output, Mean) else self._pairs(*output)  # type: ignore[misc]
        pair = mean.detach().pool()
        self._sums += torch.stack([pair.total, pair.weight]).to(self._sums)

    def compute(self) -> float:
        """Return the mean over all samples of all ranks.

        Raises:
            NotComputableError: of ignite, if there were none.
        """
        sums: Tensor = framework("ignite.distributed", "ignite").all_reduce(self._sums.clone())
        total, weight = sums.tolist()
        if not weight:
            errors = framework("ignite.exceptions", "ignite")
            msg = "ExactLoss has no sample with a weight; expected one or more."
            raise errors.NotComputableError(msg)
        return float(total / weight)


def __getattr__(name: str) -> Any:
    if name != "ExactLoss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    metric = framework("ignite.metrics", "ignite").Metric
    names = {"__module__": __name__, "_state_dict_all_req_keys": ("_sums",)}
    globals()[name] = type(metric)(name, (LossSums, metric), names)
    return globals()[name]


def probe_step(
    trainer: Callable[[nn.Module, Any, int], Any],
    samples: Sequence[Any] | Callable[[], Sequence[Any]],
    *,
    build: Callable[[], tuple[nn.Module, Optimizer]],
    collate: Callable[[list[Any]], Any] = default_collate,
    **settings: Any,
) -> Probe:
    """Return a probe of an ignite trainer's step.

    Args:
        trainer: trainer(model, optimizer, accumulate) -> Engine, such as a function around
            create_supervised_trainer(..., gradient_accumulation_steps=accumulate). The number in
            its output is the loss that it reports.
        samples: a handful of samples, or a function that returns them.
        build: build() -> (model, optimizer).
        collate: makes a batch of a list of samples.
        **settings: as for batchproof.check.Probe: cuts, dtype, mask, pad; with window=k
            accumulate is k throughout, also where fewer micro-batches are left.

    Returns:
        A probe, for `.check()` or `batchproof check MODULE:NAME`.

    Raises:
        ProbeError: if ignite is not installed.
    """
    framework("ignite.engine", "ignite")
    step = _Step(trainer, settings.get("window"))
    return _StepProbe(step, samples, build, collate, wrap=None, remedies=_OF_STEP, **settings)


def probe_evaluate(
    evaluator: Any,
    samples: Sequence[Any] | Callable[[], Sequence[Any]],
    *,
    build: Callable[[], nn.Module],
    metric: str = "loss",
    collate: Callable[[list[Any]], Any] = default_collate,
    **settings: Any,
) -> Probe:
    """Return a probe of an ignite evaluator's metric.

    Args:
        evaluator: evaluator(model) -> Engine with its metrics attached.
        samples: a handful of samples, or a function that returns them.
        build: build() -> model.
        metric: the name that the metric was attached under.
        collate: makes a batch of a list of samples.
        **settings: as for batchproof.check.Probe.

    Returns:
        A probe.

    Raises:
        ProbeError: if ignite is not installed.
    """
    framework("ignite.engine", "ignite")
    run = _Evaluate(evaluator, metric)
    return Probe(run, samples, build, collate, kind="evaluate", remedies=_OF_EVALUATION, **settings)


@dataclass(frozen=True)
class _Step:
    """One run of the user's trainer over the micro-batches."""

    trainer: Callable[[nn.Module, Any, int], Any]
    window: int | None

    def __call__(self, model: nn.Module, optimizer: Any, micro_batches: list[Any]) -> float | None:
        accumulate = self.window or count_of(micro_batches, "ignite")
        output = self.train(model, optimizer, micro_batches, accumulate)
        return output if isinstance(output, float) else None

    def train(self, model: nn.Module, optimizer: Any, batches: list[Any], accumulate: int) -> Any:
        """Run the trainer for one epoch and return its output."""
        return _engine(self.trainer(model, optimizer, accumulate)).run(batches, max_epochs=1).output


@dataclass(frozen=True)
class _StepProbe(Probe):
    """A probe of a trainer that may leave its last window open."""

    def check(self, *, name: str = "") -> Report:
        """Run the check; where a short window gets no step, of full windows only.

        Args:
            name: what is checked, for the report.
        """
        step: Any = self.run
        diagnosis = None
        if self.window is not None and self.window > 1:
            batches = [cast(self.collate([sample]), self.dtype) for sample in self.given()]
            diagnosis = left_open(step.train, self.build, batches, self.window, self.dtype)
        if diagnosis is None:
            return Probe.check(self, name=name)
        full = replace(self, run=replace(step, window=None), window=None)
        report = Probe.check(full, name=name)
        return replace(report, diagnoses=(diagnosis, *report.diagnoses), runs=report.runs + 2)


@dataclass(frozen=True)
class _Evaluate:
    """One run of the user's evaluator over the batches."""

    evaluator: Callable[[nn.Module], Any]
    metric: str

    def __call__(self, model: nn.Module, batches: list[Any]) -> float:
        metrics = _engine(self.evaluator(model)).run(batches).metrics
        if self.metric not in metrics:
            raise ProbeError(
                f"the evaluator has the metrics {', '.join(metrics) or 'none'} but not "
                f"{self.metric!r}; name the one to check: metric=..."
            )
        return float(metrics[self.metric])


def _engine(result: Any) -> Any:
    kind = framework("ignite.engine", "ignite").Engine
    if not isinstance(result, kind):
        raise ProbeError(
            f"got {type(result).__name__}; expected a function that returns an Engine."
        )
    return result

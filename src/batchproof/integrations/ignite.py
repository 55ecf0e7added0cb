"""Check ignite engines and metrics, as they are.

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

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import default_collate

from batchproof._errors import ProbeError
from batchproof.check import Probe, Report
from batchproof.integrations._given import cast, count_of, framework
from batchproof.integrations._open_window import left_open
from batchproof.mistakes import Remedy

_WINDOWS = Remedy(
    "Let a window be the engine's batch, and batchproof's Step take the step over it.",
    "trainer = Engine(lambda engine, window: step(window, loss).loss.item())\n"
    "trainer.run(batchproof.windows(loader, accumulate=k))   # step: batchproof.Step",
)
_METRIC = Remedy(
    "Attach a metric that keeps sums and weights.",
    "class MeanLoss(Metric):\n"
    "    def reset(self):\n"
    "        self.meter = batchproof.Meter()\n"
    "\n"
    "    def update(self, output):\n"
    "        self.meter.add(batchproof.exact(criterion)(*output).detach())\n"
    "\n"
    "    def compute(self):\n"
    "        return self.meter.estimate().value",
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
        found = None
        if self.window is not None and self.window > 1:
            batches = [cast(self.collate([sample]), self.dtype) for sample in self.given()]
            found = left_open(step.train, self.build, batches, self.window, self.dtype)
        if found is None:
            return Probe.check(self, name=name)
        full = replace(self, run=replace(step, window=None), window=None)
        report = Probe.check(full, name=name)
        return replace(report, diagnoses=(found, *report.diagnoses), runs=report.runs + 2)


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


def _engine(made: Any) -> Any:
    kind = framework("ignite.engine", "ignite").Engine
    if not isinstance(made, kind):
        raise ProbeError(f"got {type(made).__name__}; expected a function that returns an Engine.")
    return made

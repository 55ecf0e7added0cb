"""Check a training loop written with accelerate, as it is.

The loop is the user's own function, `loop(accelerator, model, optimizer, loader)`, with its
`prepare`, `accumulate` and `backward`. For each cut it is given an Accelerator whose
`gradient_accumulation_steps` is the number of micro-batches (or the window), and a loader of them.

What accelerate does: `backward` divides the loss by `gradient_accumulation_steps`, also in a last
window that has fewer micro-batches, whatever their sizes; over ranks the wrapper averages.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.data import DataLoader, default_collate

from batchproof._errors import SettingError, kind_of
from batchproof._trees import length
from batchproof.check import Probe
from batchproof.data import Padding
from batchproof.integrations._given import count_of, framework
from batchproof.integrations._loss_calls import (
    LossCalls,
    OpenWindow,
    coefficients_of,
    provisional_for,
)
from batchproof.integrations._recut_parts import (
    Budget,
    Part,
    counting_of,
    part_of,
    refuse_collectives,
)
from batchproof.mistakes import Remedy
from batchproof.ranks import world_size

Loop = Callable[[Any, nn.Module, Any, DataLoader[Any]], Any]


_EXACT = Remedy(
    "Make the accelerator exact; the loop stays as it is.",
    "from batchproof.integrations.accelerate import exactly\n"
    "\n"
    "accelerator = exactly(Accelerator(gradient_accumulation_steps=k))",
)
_OF_STEP = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "weight-per-micro-batch", "fixed-window-size"),
        *("not-divided", "empty-micro-batch-nan", "reported-loss", "world-size-factor"),
    ),
    _EXACT,
)


class ExactAccumulation:
    """Wraps accumulate and backward of an Accelerator; comes before it among the bases.

    Attributes:
        step_loss: the mean over the last window that is over, of all ranks; None before.
        recutting: the windows that are iterated, where they are recut.
    """

    gradient_state: Any
    gradient_accumulation_steps: int
    distributed_type: Any
    step: int
    sync_gradients: bool
    _models: Any
    step_loss: float | None = None
    _calls: LossCalls | None = None
    _window: OpenWindow | None = None
    _coefficients: Sequence[float] | None = None
    _provisional: float = 1.0
    recutting: "RecutWindows | None" = None

    def recut(self, loader: Any, *, tokens: int, lengths: Any = None) -> "RecutWindows":
        """Return the batches of a prepared loader, with every window cut again under a budget.

        A window has the same samples and the same gradient; what changes is how often the loop's
        body runs. `sync_gradients` is true in the last micro-batch of a window.

        Args:
            loader: prepared, for training.
            tokens: the most positions of a micro-batch, its rows times its longest sample; padding
                is trimmed.
            lengths: lengths(batch) -> one number per sample, where they cannot be read.

        Raises:
            SettingError: if tokens is not a whole number from 1, the loader was not prepared,
                windows go on over the ends of epochs, or ranks meet in every pass.
        """
        if not hasattr(loader, "end_of_dataloader"):
            raise SettingError(
                f"recut was given {kind_of(loader)}; expected a loader that "
                "accelerator.prepare returned."
            )
        if not self.gradient_state.sync_with_dataloader:
            raise SettingError(
                "sync_with_dataloader is False, so windows go on into the next epoch; expected "
                "True, its default."
            )
        sharded = self.distributed_type.name if self.distributed_type.name == "FSDP" else None
        refuse_collectives(self._models, sharded)
        return RecutWindows(self, loader, Budget(tokens, lengths))

    def _do_sync(self, *args: Any, **kwargs: Any) -> None:
        """Choose whether this micro-batch is the last of its window; as Accelerator does."""
        if self.recutting is None:
            super()._do_sync(*args, **kwargs)  # type: ignore[misc]
        else:
            self.step = 0
            self.gradient_state._set_sync_gradients(self.recutting.last)  # noqa: SLF001

    @contextmanager
    def accumulate(self, *models: Any) -> Iterator[None]:
        """Record the losses that are called within; as Accelerator.accumulate."""
        outer = super().accumulate(*models)  # type: ignore[misc]
        # whether the batch is the last one of its epoch is known once a loader gave it: now
        with outer, LossCalls(counting=self._counting()) as self._calls:
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Back-propagate a micro-batch, and divide where it is the last of its window.

        Raises:
            SettingError: if it is called outside accumulate.
        """
        calls, self._calls = self._calls, None
        if calls is None:
            raise SettingError(
                "backward was called outside accumulate, or twice within it, where the losses are "
                "recorded; expected with accelerator.accumulate(model): ... backward(loss)."
            )
        if self._window is None:
            self._window = self._begun(loss, calls)
        for call in calls.calls:
            self._window.add(call)
        super().backward(loss, **kwargs)  # type: ignore[misc]
        if self.sync_gradients:
            window, self._window = self._window, None
            self.step_loss = window.close(p for model in self._models for p in model.parameters())

    def _begun(self, loss: Tensor, calls: LossCalls) -> OpenWindow:
        if self._coefficients is None:
            self._provisional = provisional_for(call.weight for call in calls.calls)
            self._coefficients = coefficients_of(loss, calls.calls, "the loop")
        steps = self.gradient_accumulation_steps
        alone = self.sync_gradients and world_size() == 1
        return OpenWindow(
            self._coefficients,
            self._provisional,
            alone=alone,
            further=float(steps),
            micro_batches=steps,
        )

    def _counting(self) -> tuple[int, int] | None:
        recutting = self.recutting
        return counting_of(self.gradient_state) if recutting is None else recutting.counting


class RecutWindows:
    """The micro-batches of an accelerate loader's windows, recut; iterated once an epoch.

    Attributes:
        padding: how much of the windows so far was padding, and is.
        last: whether the micro-batch that was drawn last is the last one of its window.
        counting: (0, its samples) if that micro-batch only repeats samples of others, else None.
    """

    def __init__(self, accelerator: Any, loader: Any, budget: Budget) -> None:
        self._accelerator, self._loader, self._budget = accelerator, loader, budget
        self.last = False
        self.counting: tuple[int, int] | None = None

    @property
    def padding(self) -> Padding:
        """How much of the windows so far was padding, and is."""
        return self._budget.padding

    def __iter__(self) -> Iterator[Any]:
        accelerator = self._accelerator
        window: list[Part] = []
        try:
            for batch in self._loader:
                accelerator.recutting = None
                window.append(part_of(batch, counting_of(accelerator.gradient_state)))
                full = len(window) == accelerator.gradient_accumulation_steps
                if not full and not accelerator.gradient_state.end_of_dataloader:
                    continue
                parts = self._budget.cut(window)
                window = []
                for number, (part, counts) in enumerate(parts, 1):
                    self.last = number == len(parts)
                    self.counting = None if counts else (0, length(part) or 0)
                    accelerator.recutting = self
                    yield part
        finally:
            accelerator.recutting = None


def exactly(accelerator: Any) -> Any:
    """Make the steps of a loop with this Accelerator those of one mean, however its data is cut.

    The loop stays as it is: accumulate, backward, clip_grad_norm_, step. Samples that accelerate
    repeats to make ranks even count once. `accelerator.step_loss` is the mean of the last window.

    Args:
        accelerator: an accelerate.Accelerator.

    Returns:
        The accelerator itself, of a subclass of its class.

    Raises:
        SettingError: if it is not an Accelerator, or DeepSpeed takes its steps.
        ProbeError: if accelerate is not installed.

    Examples:
        accelerator = exactly(Accelerator(gradient_accumulation_steps=4))
    """
    kind = type(accelerator)
    if not isinstance(accelerator, framework("accelerate", "accelerate").Accelerator):
        raise SettingError(
            f"exactly was given {kind_of(accelerator)}; expected an accelerate.Accelerator."
        )
    engine = str(accelerator.distributed_type).rpartition(".")[2]
    if engine in {"DEEPSPEED", "MEGATRON_LM"}:
        raise SettingError(
            f"the accelerator runs {engine}, which takes steps by itself; expected a single "
            "device, DDP or FSDP. Leave exactly() out."
        )
    if not isinstance(accelerator, ExactAccumulation):
        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        accelerator.__class__ = type(kind.__name__, (ExactAccumulation, kind), names)
    return accelerator


def probe_step(
    loop: Loop,
    samples: Sequence[Any] | Callable[[], Sequence[Any]],
    *,
    build: Callable[[], tuple[nn.Module, Optimizer]],
    collate: Callable[[list[Any]], Any] = default_collate,
    **settings: Any,
) -> Probe:
    """Return a probe of a loop that accumulates gradients with accelerate.

    Args:
        loop: loop(accelerator, model, optimizer, loader) -> float | None: the user's own loop over
            one pass of the loader, with a step whenever accelerate says so; what it returns is
            the loss that it reports.
        samples: a handful of samples, or a function that returns them.
        build: build() -> (model, optimizer), not yet prepared.
        collate: makes a batch of a list of samples.
        **settings: as for batchproof.check.Probe: cuts, ranks, dtype, mask, pad; with window=k
            gradient_accumulation_steps is k throughout, also where fewer micro-batches are left.

    Returns:
        A probe, for `.check()` or `batchproof check MODULE:NAME`.

    Raises:
        ProbeError: if accelerate is not installed.
    """
    framework("accelerate", "accelerate")
    step = _Step(loop, settings.get("window"))
    return Probe(step, samples, build, collate, wrap=None, remedies=_OF_STEP, **settings)


@dataclass(frozen=True)
class _Step:
    """One pass of the user's loop over a window of micro-batches."""

    loop: Loop
    window: int | None

    def __call__(self, model: nn.Module, optimizer: Any, micro_batches: list[Any]) -> Any:
        accelerator = framework("accelerate", "accelerate").Accelerator(
            gradient_accumulation_steps=self.window or count_of(micro_batches, "accelerate"),
            cpu=True,
        )
        loader = framework("accelerate.data_loader", "accelerate").DataLoaderShard(
            micro_batches, batch_size=None
        )
        # as prepare leaves it: the micro-batches are this rank's own, and are not shared out again
        vars(loader)["_is_accelerate_prepared"] = True
        return self.loop(accelerator, model, optimizer, loader)

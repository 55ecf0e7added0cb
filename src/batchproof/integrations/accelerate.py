"""Check a training loop written with accelerate, as it is.

The loop is the user's own function, `loop(accelerator, model, optimizer, loader)`, with its
`prepare`, `accumulate` and `backward`. For each cut it is given an Accelerator whose
`gradient_accumulation_steps` is the number of micro-batches (or the window), and a loader of them.

What accelerate does: `backward` divides the loss by `gradient_accumulation_steps`, also in a last
window that has fewer micro-batches, whatever their sizes; over ranks the wrapper averages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, default_collate

from batchproof.check import Probe
from batchproof.integrations._given import count_of, framework
from batchproof.mistakes import Remedy

Loop = Callable[[Any, nn.Module, Any, DataLoader[Any]], Any]


_WINDOWS = Remedy(
    "Leave out accumulate, which divides by a fixed number of micro-batches, and let batchproof's "
    "Step take the step over the whole window.",
    "net, optimizer, loader = accelerator.prepare(net, optimizer, loader)\n"
    "step = batchproof.Step(net, optimizer)\n"
    "for window in batchproof.windows(loader, accumulate=k):\n"
    "    result = step(window, loss)",
)
_OF_STEP = dict.fromkeys(
    (
        *("mean-of-micro-batch-means", "weight-per-micro-batch", "fixed-window-size"),
        *("not-divided", "empty-micro-batch-nan", "reported-loss", "world-size-factor"),
    ),
    _WINDOWS,
)


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

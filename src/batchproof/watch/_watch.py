"""The run that is watched, as a context: `with watch() as seen`."""

from types import TracebackType

from torch import Tensor

from batchproof._errors import SettingError, ShapeError
from batchproof.watch._numbers import Numbers
from batchproof.watch._report import WatchReport, report_of
from batchproof.watch._watcher import Watcher, active


class Watch:
    """A run that is watched; made by `watch`.

    Args:
        steps: stop after so many steps of an optimiser; None to watch to the end.
        numbers: whether numbers that reach a person are watched, too.

    Attributes:
        watcher: records losses and steps.
        numbers: records numbers; None where they are not watched.
    """

    def __init__(self, *, steps: int | None = None, numbers: bool = True) -> None:
        if steps is not None and steps < 1:
            raise SettingError(f"steps is {steps}; expected at least 1, or None for the whole run.")
        self.watcher = Watcher(steps=steps)
        self.numbers = Numbers() if numbers else None
        if self.numbers is not None:
            self.watcher.attach(self.numbers)

    def __enter__(self) -> "Watch":  # noqa: PYI034
        self.watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.watcher.has_failed = kind is not None and not issubclass(kind, SystemExit)
        self.watcher.stop()

    def report(self, *, name: str = "this run") -> WatchReport:
        """Return the report so far.

        Args:
            name: what the report calls the run.
        """
        return report_of(self.watcher, self.numbers, name=name)


def watch(*, steps: int | None = None, numbers: bool = True) -> Watch:
    """Watch whatever trains or evaluates inside: what each sample counts, what each number is.

    Nothing is run twice, and no result changes. Losses of torch.nn and torch.nn.functional are
    seen wherever they are called from, losses by hand at their log-probabilities; mark any other
    with `watch_loss`.

    Args:
        steps: stop watching after so many optimiser steps; the code inside runs on at full speed.
        numbers: whether numbers that reach a person (printed, logged, written) are read, too.

    Returns:
        A context; its `report()` says what was seen, inside and after it.

    Raises:
        SettingError: if steps is below 1, or, on entering, a run is watched already.

    Examples:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with watch() as seen:
        ...     for _ in range(2):
        ...         for size in (3, 1):
        ...             output = model(torch.ones(size, 2))
        ...             loss = torch.nn.functional.mse_loss(output, torch.ones(size, 1))
        ...             (loss / 2).backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        >>> [finding.name for finding in seen.report().findings]
        ['mean-of-micro-batch-means']
    """
    return Watch(steps=steps, numbers=numbers)


def watch_loss(losses: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mark losses that watch cannot know, such as those of a function of your own.

    It returns the losses as they are, and does nothing where no run is watched.

    Args:
        losses: one per element, before they are summed or averaged, shape (samples, *elements).
        mask: True where a loss counts, of the shape of losses.

    Returns:
        The same tensor.

    Raises:
        ShapeError: if the mask has another shape.

    Examples:
        >>> import torch
        >>> losses = (torch.ones(4) - 0.5).pow(2)
        >>> watch_loss(losses) is losses
        True
    """
    if mask is not None and mask.shape != losses.shape:
        raise ShapeError(
            f"mask has shape {tuple(mask.shape)} but losses have shape {tuple(losses.shape)}; "
            "give one of the same shape: mask.expand_as(losses)."
        )
    for watcher in active():
        watcher.marked(losses, mask)
    return losses

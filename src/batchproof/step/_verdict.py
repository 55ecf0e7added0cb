"""The verdict on a window: no step over no weight, none with a loss or gradient that is NaN.

The flags stay on the device until somebody reads them. On the CPU they are known at once; on a
CUDA device they are copied to pinned memory after the step, and are read when they have
arrived, so that nothing ever waits for them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from batchproof._errors import BatchproofError, NonFiniteError, SettingError
from batchproof.step._number import Flag


@dataclass(slots=True)
class Verdict:
    """The verdict on one window: whether its step was held back, and why.

    Attributes:
        step: the number of the window, from 1.
        flags: by name: "empty", the window has no weight; "nonfinite", its loss or gradient is NaN
            or infinite; "overflowed", its gradient is so under a scaler, which is not an error;
            "miscounted", its weights are not those that were counted before.
        totals: gives each micro-batch's totals by term; called only when something was wrong.
        blame: names a parameter whose gradient is not finite, while gradients are still there.
        ranks: names the ranks whose own losses were not finite; "" where there is one process, or
            no such rank. It reads on the host.
    """

    step: int
    flags: Mapping[str, Flag]
    totals: Callable[[], Sequence[Mapping[str, Tensor]]]
    blame: Callable[[], str | None]
    ranks: Callable[[], str]
    _arriving: tuple[Tensor, torch.cuda.Event] | None = field(default=None, repr=False)
    _read: Mapping[str, bool] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if Tensor not in map(type, self.flags.values()):
            self._read = cast("Mapping[str, bool]", self.flags)

    @property
    def on_host(self) -> bool:
        """Whether reading the flags does not wait for a device."""
        return self._read is not None

    def held(self) -> Flag:
        """Return whether the step is held back, without a host read."""
        return self._stacked().any() if self._read is None else self.skipped()

    def read(self) -> Mapping[str, bool]:
        """Return the flags by name, read on the host once."""
        if self._read is None:
            self._read = dict(zip(self.flags, self._stacked().tolist(), strict=True))
        return self._read

    def skipped(self) -> bool:
        """Return whether no step was taken, read on the host."""
        return any(self.read().values())

    def send(self) -> None:
        """Start the flags on their way to the host, without waiting."""
        flags = self._stacked()
        if flags.device.type == "cuda":
            landing = torch.empty(len(flags), dtype=torch.bool, pin_memory=True)
            landing.copy_(flags, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._arriving = (landing, event)

    def arrived(self) -> bool:
        """Return whether the flags are on the host by now."""
        if not self.on_host and self._arriving is not None:
            flags, event = self._arriving
            if event.query():  # type: ignore[no-untyped-call]
                self._read = dict(zip(self.flags, flags.tolist(), strict=True))
        return self.on_host

    def check(self, *, tolerate_nonfinite: bool = False) -> None:
        """Read on the host, and raise the error, if any.

        Raises:
            NonFiniteError: if a loss or gradient is not finite and that is not tolerated.
            SettingError: if the weights are not those that count gave.
        """
        flags = self.read()
        if flags["miscounted"]:
            raise SettingError(
                f"step {self.step}: the weights that count gave are not those of the loss's Means; "
                'the gradient would be scaled wrongly. Fix count, or pass count="forward".'
            )
        if flags["nonfinite"] and not tolerate_nonfinite:
            raise self._nonfinite()

    def _nonfinite(self) -> BatchproofError:
        after = "the optimiser took no step; nonfinite='skip' counts such steps instead."
        ranks = self.ranks()
        on = f" on {ranks}" if ranks else ""
        micro_batches = self.totals()
        for index, totals in enumerate(micro_batches, 1):
            for name, total in totals.items():
                if not math.isfinite(value := total.item()):
                    return NonFiniteError(
                        f"step {self.step}: the total of term {name!r} is {value} in micro-batch "
                        f"{index} of {len(micro_batches)}{on}; {after}"
                    )
        if ranks:
            return NonFiniteError(f"step {self.step}: the loss is not finite{on}; {after}")
        where = self.blame()
        return NonFiniteError(
            f"step {self.step}: the gradient{f' of {where}' if where else ''} is not finite though "
            f"every loss is; {after}"
        )

    def _stacked(self) -> Tensor:
        device = next(flag.device for flag in self.flags.values() if isinstance(flag, Tensor))
        # filled on the device: copied from the host, a flag would be waited for
        flags = [
            flag if isinstance(flag, Tensor) else torch.full((), flag, device=device)
            for flag in self.flags.values()
        ]
        return torch.stack(flags)


class Verdicts:
    """The verdicts of all windows so far, each read when it has arrived, or when it is asked for.

    Args:
        tolerate_nonfinite: whether windows that are not finite are counted and not raised.

    Attributes:
        skipped: the number of windows that took no step.
    """

    def __init__(self, *, tolerate_nonfinite: bool) -> None:
        self.skipped: int | Tensor = 0
        self._tolerant = tolerate_nonfinite
        self._pending: list[Verdict] = []

    def add(self, verdict: Verdict) -> None:
        """Count a window, and raise its error as soon as that is known."""
        if not verdict.on_host:
            self.skipped = self.skipped + verdict.held()
            verdict.send()
            self._pending.append(verdict)
        elif verdict.skipped():
            self.skipped = self.skipped + 1
            verdict.check(tolerate_nonfinite=self._tolerant)

    def check_arrived(self) -> None:
        """Raise the errors of windows whose verdict is on the host by now."""
        while self._pending and self._pending[0].arrived():
            self._pending.pop(0).check(tolerate_nonfinite=self._tolerant)

    def check(self) -> None:
        """Wait for every window, and raise the error of the first that had one."""
        while self._pending:
            self._pending.pop(0).check(tolerate_nonfinite=self._tolerant)

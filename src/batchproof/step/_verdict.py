"""Whether a window's step is taken: not over no weight, not with a loss or gradient that is NaN.

The flags stay on the device until somebody reads them. Where reading is free (the CPU) they are
read at once; on a CUDA device they travel to pinned memory behind the step, and are looked at when
they have arrived, so that nothing ever waits for them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from batchproof._errors import BatchproofError, NonFiniteError, SettingError

FLAGS = ("empty", "nonfinite", "overflowed", "miscounted")


@dataclass(slots=True)
class Verdict:
    """Why a window's step was held back, if it was.

    Attributes:
        step: the number of the window, from 1.
        flags: bool, shape (4,): the window has no weight; its loss or gradient is NaN or infinite;
            its gradient overflowed under a scaler, which is no error; its weights are not those
            that were counted before.
        totals: each micro-batch's totals by term.
        blame: names a parameter whose gradient is not finite, while gradients are still there.
    """

    step: int
    flags: Tensor
    totals: Sequence[Mapping[str, Tensor]]
    blame: Callable[[], str | None]
    _arriving: tuple[Tensor, torch.cuda.Event] | None = field(default=None, repr=False)
    _read: dict[str, bool] | None = field(default=None, repr=False)

    @property
    def held(self) -> Tensor:
        """Bool, shape (): whether the step is held back; no host read."""
        return self.flags.any()

    def read(self) -> Mapping[str, bool]:
        """Return the flags by name, read on the host once."""
        if self._read is None:
            self._read = dict(zip(FLAGS, self.flags.tolist(), strict=True))
        return self._read

    def skipped(self) -> bool:
        """Return whether no step was taken, read on the host."""
        return any(self.read().values())

    def send(self) -> None:
        """Start the flags on their way to the host, without waiting."""
        if self.flags.device.type == "cuda":
            landing = torch.empty(len(FLAGS), dtype=torch.bool, pin_memory=True)
            landing.copy_(self.flags, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._arriving = (landing, event)

    def arrived(self) -> bool:
        """Return whether reading would not wait."""
        if self._read is None and self._arriving is not None:
            landed, event = self._arriving
            if event.query():  # type: ignore[no-untyped-call]
                self._read = dict(zip(FLAGS, landed.tolist(), strict=True))
        return self._read is not None or self.flags.device.type == "cpu"

    def check(self, *, tolerate_nonfinite: bool) -> None:
        """Read on the host, and raise what is wrong.

        Raises:
            NonFiniteError: if a loss or gradient is not finite and that is not tolerated.
            SettingError: if the weights are not those that count gave.
        """
        flags = self.read()
        if flags["miscounted"]:
            raise SettingError(
                f"step {self.step}: the weights that count gave are not those of the loss's Means; "
                'the gradient would be scaled wrongly. Mend count, or pass count="forward".'
            )
        if flags["nonfinite"] and not tolerate_nonfinite:
            raise self._nonfinite()

    def _nonfinite(self) -> BatchproofError:
        after = "parameters were left as they were; nonfinite='skip' counts such steps instead."
        for index, totals in enumerate(self.totals, 1):
            for name, total in totals.items():
                if not math.isfinite(value := total.item()):
                    return NonFiniteError(
                        f"step {self.step}: the total of term {name!r} is {value} in micro-batch "
                        f"{index} of {len(self.totals)}; {after}"
                    )
        where = self.blame()
        return NonFiniteError(
            f"step {self.step}: the gradient{f' of {where}' if where else ''} is not finite though "
            f"every loss is; {after}"
        )

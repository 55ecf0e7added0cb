"""A skorch callback by which train_loss and valid_loss are means over samples.

skorch weighs the loss of each batch by its number of rows. Where the criterion divides by something
else, such as the class weights of its targets, that is a mean of other weights. While a batch runs,
the call of torch's loss is recorded as a pair; at the end of the epoch the pairs are divided once,
and the numbers in net.history, by which the best epoch is chosen, are replaced.
"""

from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from torch import Tensor

from batchproof._errors import CriterionError
from batchproof.integrations._given import framework
from batchproof.integrations._loss_calls import LossCalls
from batchproof.meter import Meter


class Recorded:
    """The callback's methods; comes before skorch's Callback among the bases of `ExactLosses`."""

    def initialize(self) -> Any:
        """Return the callback itself, with nothing recorded."""
        self._calls: LossCalls | None = None
        self._meters: dict[str, Meter] = {}
        return self

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Begin with no pairs."""
        self._stop()
        self._meters = {}

    def on_batch_begin(self, *_: Any, **__: Any) -> None:
        """Record the losses that are called over the batch."""
        self._stop()
        self._calls = LossCalls()
        self._calls.__enter__()

    def on_batch_end(self, net: Any, *, training: bool, loss: Tensor, **_: Any) -> None:
        """Add the pairs of the batch.

        Raises:
            CriterionError: if its loss is not what one of torch's losses returned.
        """
        calls = self._stop()
        value = loss.item()
        mean = next((call.mean for call in calls if call.returned[0].item() == value), None)
        if mean is None:
            raise CriterionError(
                f"the loss of {type(net).__name__} is {value:.6g}, which none of torch's losses "
                f"returned ({len(calls)} calls); expected a criterion of torch with "
                'reduction="mean". Leave ExactLosses out.'
            )
        name = "train_loss" if training else "valid_loss"
        self._meters.setdefault(name, Meter()).add(mean)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Replace the epoch's losses, and whether they are the best so far, in the history."""
        self._stop()
        for name, meter in self._meters.items():
            value = meter.estimate().value
            before = net.history[:-1, name] if len(net.history) > 1 else []
            net.history.record(name, value)
            net.history.record(f"{name}_best", value < min(before, default=float("inf")))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leave torch's functions as they were."""
        self._stop()

    def _stop(self) -> list[Any]:
        calls, self._calls = self._calls, None
        if calls is None:
            return []
        calls.__exit__()
        return calls.calls


def __getattr__(name: str) -> Any:
    if name != "ExactLosses":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    callback = framework("skorch.callbacks", "skorch").Callback
    globals()[name] = type(name, (Recorded, callback), {"__module__": __name__})
    return globals()[name]

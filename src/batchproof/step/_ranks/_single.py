"""One process: every method does nothing, or returns its argument."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from batchproof._errors import SettingError
from batchproof.mean import Mean, Pairs
from batchproof.step._number import Number
from batchproof.step._tally import Tally


class Single:
    """The null object of ranks.

    Attributes:
        alone: True.
        divisor: the factor of a wrapper on the sum of the ranks' gradients: 1.
    """

    alone = True
    divisor = 1.0

    def begin(self) -> None:
        """Do nothing."""

    def expect_a_pass(self) -> None:
        """Refuse to close a window in which no pass was made.

        Raises:
            SettingError: always.
        """
        raise SettingError("apply() has no window to close; call backward(mean) first.")

    def plain(self, model: Any) -> Any:
        """Return the model as it is."""
        return model

    def further(self, batches: Sequence[Any]) -> Sequence[Any]:
        """Return no further micro-batches."""
        del batches
        return ()

    def counted(self, weights: dict[str, Number]) -> dict[str, Number]:
        """Return the weights as they are."""
        return weights

    def micro_batches(
        self, batches: Sequence[Any], loss: Callable[[Any, Any], Any]
    ) -> Iterable[Any]:
        """Return the micro-batches as they are."""
        del loss
        return batches

    def join(self, tally: Tally, pairs: Pairs, micro_batches: int) -> None:
        """Do nothing."""

    def before_backward(self, tally: Tally) -> None:
        """Do nothing."""

    def complete(self, tally: Tally) -> None:
        """Do nothing."""

    def collect(
        self, tally: Tally, norm: Number
    ) -> tuple[Mapping[str, Mean], Mapping[str, Mean], Number]:
        """Return the pairs of each term and of each metric, and the norm as it is."""
        return tally.terms(), tally.metrics(), norm

    def suspects(self) -> Callable[[], str]:
        """Return a function that names no rank."""
        return str

    def failed(self, error: BaseException) -> None:
        """Do nothing."""

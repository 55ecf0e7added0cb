"""The wrappers that sum the gradients of several ranks.

The sum under each wrapper:

bare model     nobody sums: the step does, in buckets, when the last backward is done
DDP            sums while the last micro-batch's backward runs, and averages: 1 / world
FSDP2          reduces to shards likewise, and averages: 1 / world, or what it was set to
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from batchproof.ranks import Group


@runtime_checkable
class Wrapper(Protocol):
    """The interface of the wrapper around a model that a window needs."""

    name: str
    group: Group
    sharded: bool

    def inner(self, model: Any) -> Any:
        """Return a model that runs without taking part in collectives, if there is one."""

    def padding(self, missing: int) -> Sequence[Any]:
        """Return further micro-batches to run the model over, so that other ranks can continue."""

    def shares(self) -> int:
        """Return the number of ranks that hold each gradient of this one, itself included."""

    def reduced(self) -> list[Tensor]:
        """Return the parameters whose gradients are summed over ranks."""

    def begin(self) -> None:
        """Prepare for a window."""

    def share_buffers(self) -> None:
        """Have the collective now that the first pass of a window would make before it runs."""

    def end(self) -> None:
        """Restore the wrapper to its state before the window, also after an error."""

    def rounds(self, batches: Sequence[Any]) -> int:
        """Return the number of backward passes that this rank makes in this window."""

    def synchronise(self, *, on: bool) -> None:
        """Have the next pass reduce gradients, or only gather them."""

    def rerun(self, loss: Callable[[Any, Any], Any]) -> "Rerun":
        """Return a pass that adds nothing, for a rank without a micro-batch."""

    def probe(self, seed: float) -> Tensor:
        """Back-propagate seed to one element, and return this rank's part of the gradient."""

    def reduce(self) -> None:
        """Sum gradients over ranks, where the backward pass has not."""


class Rerun(ExitStack):
    """A pass that adds nothing: its roots, and the gradient to back-propagate them with.

    Attributes:
        roots: scalars with a graph.
        seed: 1 where their gradients are 0 as they are, 0 where they must be made so.
    """

    def __init__(self, seed: float) -> None:
        super().__init__()
        self.roots: list[Tensor] = []
        self.seed = seed

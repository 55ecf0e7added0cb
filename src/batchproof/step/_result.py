"""What one optimiser step gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from batchproof.mean import Mean
from batchproof.step._verdict import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """The numbers of one window, on the device until they are read.

    Attributes:
        loss: the objective's mean over the window, detached. For several terms the pair
            (value, 1), since their weighted sum is not itself a mean of samples.
        terms: the Mean of each term, by name.
        metrics: the Mean of each metric, by name.
        grad_norm: shape (): the 2-norm of the mean's gradient, before clipping.
    """

    loss: Mean
    terms: Mapping[str, Mean]
    metrics: Mapping[str, Mean]
    grad_norm: Float[Tensor, ""]
    _verdict: Verdict = field(repr=False)

    @property
    def skipped(self) -> bool:
        """Whether no step was taken: no weight, or not all finite. Read on the host."""
        return self._verdict.skipped()

    def check(self) -> None:
        """Read on the host whether the loss and its gradient were finite.

        Raises:
            NonFiniteError: if they were not; it names the step, micro-batch and term.
        """
        self._verdict.check(tolerate_nonfinite=False)

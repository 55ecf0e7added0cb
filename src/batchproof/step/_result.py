"""The result of one optimiser step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from batchproof.mean import Mean
from batchproof.step._number import Number, as_tensor
from batchproof.step._verdict import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """The numbers of one window, on the device until they are read.

    Attributes:
        loss: the objective's mean over the window, detached. For several terms the pair
            (value, 1), since their weighted sum is not itself a mean of samples.
        terms: the Mean of each term, by name.
        metrics: the Mean of each metric, by name.
        verdict: whether the step was taken, and why not.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> model, loss = torch.nn.Linear(2, 1), bp.supervised(torch.nn.MSELoss())
        >>> _ = torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        >>> step = bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> result = step([(torch.ones(3, 2), torch.ones(3, 1))], loss)
        >>> result.loss.item(), round(result.grad_norm.item(), 4), result.skipped
        (1.0, 3.4641, False)
    """

    loss: Mean
    terms: Mapping[str, Mean]
    metrics: Mapping[str, Mean]
    _norm: Number = field(repr=False)
    verdict: Verdict = field(repr=False)

    def __repr__(self) -> str:
        if self.loss.total.is_meta:
            return f"StepResult({self.loss!r})"
        parts = {**(self.terms if len(self.terms) > 1 else {}), **self.metrics}
        means = "".join(f", {name}={mean}" for name, mean in parts.items())
        suffix = ", skipped" if self.skipped else ""
        return f"StepResult(loss={self.loss}{means}, grad_norm={self.grad_norm.item():.4g}{suffix})"

    @property
    def grad_norm(self) -> Float[Tensor, ""]:
        """The 2-norm of the mean's gradient before clipping, shape ()."""
        return as_tensor(self._norm, self.loss.total)

    @property
    def skipped(self) -> bool:
        """Whether no step was taken: no weight, or not all finite. Read on the host."""
        return self.verdict.skipped()

    def check(self) -> None:
        """Read on the host whether the loss and its gradient were finite.

        Raises:
            NonFiniteError: if they were not; it names the step, micro-batch and term.
        """
        self.verdict.check(tolerate_nonfinite=False)

"""The objective sum_t c_t X_t / W_t: its value, and the gradient on each total."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from batchproof._errors import MissingCountError, SettingError
from batchproof.mean import Mean, expect_coefficients
from batchproof.step._number import Flag, Number, as_tensor, differ, nonzero, number


class Objective:
    """Terms and their coefficients, 1 where not given."""

    def __init__(self, coefficients: Mapping[str, float] | None) -> None:
        expect_coefficients(coefficients)
        self.coefficients = dict(coefficients or {})

    def mean(self, terms: Mapping[str, Mean]) -> Mean:
        """Return the objective as a Mean: of one term its pair, of several (value, 1).

        Raises:
            SettingError: if a coefficient names no term.
        """
        if self.coefficients and (extra := self.coefficients.keys() - terms.keys()):
            raise SettingError(
                f"coefficients name {sorted(extra)} but the loss has the terms {sorted(terms)}; "
                "give coefficients of those."
            )
        if len(terms) == 1:
            ((name, mean),) = terms.items()
            coefficient = self.coefficients.get(name, 1.0)
            if coefficient == 1.0:
                return mean
            return Mean(mean.total * coefficient, mean.weight, mean.unit)
        parts = [
            self.coefficients.get(name, 1.0) * mean.total / _nonzero(mean.weight)
            for name, mean in terms.items()
        ]
        value = torch.stack(parts).sum()
        return Mean(value, torch.ones_like(value))

    def seed(self, name: str, total: Tensor, divisor: Number | None) -> Tensor | None:
        """Return c_t / divisor, the gradient to back-propagate a total with; None means 1."""
        coefficient = self.coefficients.get(name, 1.0)
        if divisor is None:
            return None if coefficient == 1.0 else total.new_full((), coefficient)
        return as_tensor(coefficient / nonzero(divisor), total)


def known_weight(counts: Mapping[str, Number], name: str) -> Number:
    """Return the weight counted for a term.

    Raises:
        SettingError: if there is none.
    """
    if name not in counts:
        raise SettingError(
            f"count gives weights of {sorted(counts)} but the loss has the term {name!r}; "
            "give one weight per term."
        )
    return counts[name]


def miscounted(counts: Mapping[str, Number] | None, weights: Mapping[str, Number]) -> Flag:
    """Return whether the weights that were counted are not those of the loss."""
    wrong: Flag = False
    for name, weight in weights.items() if counts is not None else ():
        wrong = wrong | differ(known_weight(counts or {}, name), weight)
    return wrong


def weights_of(terms: Mapping[str, Mean]) -> dict[str, Number]:
    """Return each term's weight."""
    return {name: number(mean.weight) for name, mean in terms.items()}


def refuse_several(terms: Collection[str]) -> None:
    """Refuse an objective of several terms whose weights are not known yet.

    Raises:
        MissingCountError: if there are several.
    """
    if len(terms) > 1:
        raise MissingCountError(
            f"the objective has {len(terms)} terms ({', '.join(terms)}), each over its own weight, "
            "which must be known before the backward pass where a window has several "
            'micro-batches or ranks. Pass count=callable(batch) -> weights, or count="forward".'
        )


def refuse_weight(step: int, terms: Mapping[str, Mean]) -> None:
    """Refuse a window that has weight, once no gradient reached any parameter; reads on the host.

    Raises:
        SettingError: if it has.
    """
    for name, mean in terms.items():
        if weight := mean.weight.item():
            raise SettingError(
                f"step {step}: term {name!r} has weight {weight:g} but no gradient is left in a "
                "parameter of the optimizer. Give the loss its graph, without detach() or "
                "no_grad(), and the optimizer the parameters of this model; hooks that consume "
                "gradients in the backward pass have trained on sums, so take them away."
            )


def _nonzero(weight: Tensor) -> Tensor:
    return torch.where(weight == 0, 1, weight)

"""Comparisons of gradients: whole, and parameter tensor by parameter tensor."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """The difference between a parameter tensor's gradient and the uncut one's.

    Attributes:
        name: the parameter.
        error: |g - g0| / |g0|.
        scale: the number s that makes s * g0 closest to g.
        cosine: of the angle between the two.
    """

    name: str
    error: float
    scale: float
    cosine: float


def relative(value: Tensor, reference: Tensor, floor: float = 0.0) -> float:
    """Return |value - expected| / max(|expected|, floor); inf where either is not finite."""
    if not (torch.isfinite(value).all() and torch.isfinite(reference).all()):
        return math.inf
    size = max(float(reference.norm()), floor)
    gap = float((value - reference).norm())
    return 0.0 if gap == 0 else (gap / size if size > 0 else math.inf)


def differences(
    gradients: dict[str, Tensor], references: dict[str, Tensor], floor: float
) -> list[Difference]:
    """Compare gradients tensor by tensor; the first entry, "all", is of all of them together.

    Args:
        gradients: by name.
        references: the gradients they should be.
        floor: tensors smaller than this share of the whole are compared with that share.
    """
    names = list(dict.fromkeys([*references, *gradients]))
    pairs = []
    for name in names:
        like = references.get(name, gradients.get(name))
        assert like is not None
        zero = torch.zeros_like(like)
        pairs.append(
            (name, gradients.get(name, zero).double(), references.get(name, zero).double())
        )
    norm = math.sqrt(sum(float(e.norm()) ** 2 for _, _, e in pairs))
    dots = [(float((g * e).sum()), float((g * g).sum()), float((e * e).sum())) for _, g, e in pairs]
    ge, gg, ee = (sum(column) for column in zip(*dots, strict=True)) if dots else (0.0, 0.0, 0.0)
    gap = math.sqrt(sum(float((g - e).norm()) ** 2 for _, g, e in pairs))
    result = [_difference("all", gap if math.isfinite(gg) else math.inf, norm, (ge, gg, ee))]
    for (name, g, e), dot in zip(pairs, dots, strict=True):
        size = max(math.sqrt(dot[2]), floor * norm)
        gap = float((g - e).norm()) if math.isfinite(dot[1]) else math.inf
        result.append(_difference(name, gap, size, dot))
    return result


def _difference(name: str, gap: float, size: float, dot: tuple[float, float, float]) -> Difference:
    ge, gg, ee = dot
    error = 0.0 if gap == 0 else (gap / size if size > 0 else math.inf)
    scale = ge / ee if ee > 0 else (1.0 if gg == 0 else math.inf)
    product = math.sqrt(gg) * math.sqrt(ee)
    cosine = ge / product if product > 0 else (1.0 if gg == ee else 0.0)
    return Difference(
        name, error, scale, max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else 0.0
    )

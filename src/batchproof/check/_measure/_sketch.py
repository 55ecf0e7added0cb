"""Sketches of gradients: at most 256 numbers for each parameter tensor.

Each number is the sum of some of the gradient's entries under random signs (a count sketch). The
sketch of a sum is the sum of the sketches, so every statement about linear combinations can be
tried on it. Tensors of at most 256 entries are kept as they are.

References:
    Charikar, Chen, Farach-Colton, "Finding frequent items in data streams" (2002).
"""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

WIDTH = 256


class Sketch:
    """A linear map from gradients, by name, to one vector of float64.

    Its layout is that of the first gradients that it is given.

    Attributes:
        spans: where each parameter's gradient is in a sketch.
        exact: which entries of a sketch are entries of a gradient, not sums of many.
    """

    def __init__(self) -> None:
        self.spans: dict[str, slice] = {}
        self.exact = torch.zeros(0, dtype=torch.bool)
        self._maps: dict[str, tuple[Tensor, Tensor]] = {}
        self._ready = False

    def __call__(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Return the sketch; a parameter without gradient counts as zero."""
        if not self._ready:
            self._lay_out(gradients)
        vector = torch.zeros(len(self.exact), dtype=torch.float64)
        for name, span in self.spans.items():
            if name in gradients:
                flat = gradients[name].detach().flatten().to("cpu", torch.float64)
                vector[span] = flat if flat.numel() <= WIDTH else self._fold(name, flat)
        return vector

    def _lay_out(self, gradients: Mapping[str, Tensor]) -> None:
        self._ready = True
        marks, at = [], 0
        for name, gradient in gradients.items():
            size = gradient.numel()
            width = min(size, WIDTH)
            self.spans[name] = slice(at, at + width)
            marks.append(torch.full((width,), size <= WIDTH))
            at += width
        self.exact = torch.cat(marks) if marks else self.exact

    def _fold(self, name: str, flat: Tensor) -> Tensor:
        if name not in self._maps:
            draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            bucket = torch.randint(WIDTH, (flat.numel(),), generator=draw)
            sign = torch.randint(2, (flat.numel(),), generator=draw).double() * 2 - 1
            self._maps[name] = (bucket, sign)
        bucket, sign = self._maps[name]
        return torch.zeros(WIDTH, dtype=torch.float64).index_add(0, bucket, flat * sign)

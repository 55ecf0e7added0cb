"""The sums a meter keeps, on the device: folding pairs in, and merging two of them, exactly.

Each sum is held as two numbers, hi + lo, and added by Knuth's two-sum, which loses nothing:

    s = a + b,  t = s - a,  error = (a - (s - t)) + (b - t),  a + b == s + error

The spread around a ratio of sums L = X / W is R(L) = sum (x_i - L w_i)^2. Expanded into
sum x^2 - 2 L sum x w + L^2 sum w^2 it cancels to noise where losses are large and their spread is
small. Kept instead are the moments of residuals r_i = x_i - l w_i around a ratio l near L; moving
l by d is exact algebra on small numbers, as in Chan's merging of variances:

    sum (r - d w)^2   = sum r^2 - 2 d sum r w + d^2 sum w^2
    sum (r - d w) w   = sum r w - d sum w^2

References:
    Knuth: The Art of Computer Programming, volume 2, 4.2.2, theorem B.
    Chan, Golub, LeVeque (1979): Updating formulae and a pairwise algorithm for computing sample
    variances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
from jaxtyping import Float
from torch import Tensor

from batchproof.mean import exact_dtype

_TYPE = attrgetter("dtype")

# the rows of Sums.hi and Sums.lo; the moments of residuals come last
TOTAL, WEIGHT, SAMPLES, BATCH_MEANS, BATCHES, RR, RW, WW = range(8)
PLAIN = RR


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Pairs not folded in yet, as they were added: total, weight, and the group of each sample."""

    totals: Sequence[Tensor]
    weights: Sequence[Tensor]
    groups: Sequence[Tensor]

    def alike(self) -> Iterator["Entries"]:
        """Return those that are pooled, then those that are one per sample, where there are any."""
        dimensions = [total.ndim for total in self.totals]
        distinct = sorted(set(dimensions))
        if len(distinct) == 1:
            yield self
            return
        for ndim in distinct:
            indices = [i for i, here in enumerate(dimensions) if here == ndim]
            yield Entries(
                [self.totals[i] for i in indices],
                [self.weights[i] for i in indices],
                [self.groups[i] for i in indices] if self.groups else [],
            )


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over all samples (column 0) and over those of each group (the columns after it).

    Attributes:
        hi: the sums, rounded; a row for each of TOTAL to WW.
        lo: the rounding errors of hi.
        ratio: the ratio l around which residuals are taken.
        extremes: the smallest and the largest group index seen.
    """

    hi: Float[Tensor, "8 columns"]
    lo: Float[Tensor, "8 columns"]
    ratio: Float[Tensor, " columns"]
    extremes: Float[Tensor, "2"]

    @classmethod
    def zero(cls, groups: int, device: torch.device) -> "Sums":
        """Return the sums over nothing."""
        dtype = exact_dtype(device)
        zeros = torch.zeros((8, groups + 1), dtype=dtype, device=device)
        return cls(zeros, zeros, zeros[0], zeros[0].new_zeros(2))

    @property
    def groups(self) -> int:
        """The number of groups."""
        return self.hi.shape[1] - 1

    def pack(self) -> Float[Tensor, " numbers"]:
        """Return all of it as one tensor."""
        return torch.cat([self.hi.flatten(), self.lo.flatten(), self.ratio, self.extremes])

    @staticmethod
    def size(groups: int) -> int:
        """Return the length of a packed tensor."""
        return 17 * (groups + 1) + 2

    @classmethod
    def unpack(cls, packed: Float[Tensor, " numbers"]) -> "Sums":
        """Return the sums of a packed tensor."""
        columns = (len(packed) - 2) // 17
        hi, lo, ratio, extremes = torch.split(packed, [8 * columns, 8 * columns, columns, 2])
        return cls(hi.view(8, columns), lo.view(8, columns), ratio, extremes)

    def to(self, device: torch.device) -> "Sums":
        """Return the same sums on another device."""
        return Sums.unpack(self.pack().to(device, exact_dtype(device)))

    def merge(self, other: "Sums") -> "Sums":
        """Return the sums over the pairs of both."""
        plain = _add(self.hi[:PLAIN], self.lo[:PLAIN], other.hi[:PLAIN], other.lo[:PLAIN])
        ratio = _ratio(plain[0])
        left, right = self.moments_around(ratio), other.moments_around(ratio)
        moments = _add(*left, *right)
        low = torch.minimum(self.extremes[0], other.extremes[0])
        high = torch.maximum(self.extremes[1], other.extremes[1])
        return _joined(plain, moments, ratio, torch.stack([low, high]))

    def fold(self, pairs: Entries) -> "Sums":
        """Return the sums with these pairs in them."""
        sums = self
        with torch.no_grad():
            for alike in pairs.alike():
                sums = sums._fold_alike(alike, is_pooled=alike.totals[0].ndim == 0)
        return sums

    def _fold_alike(self, pairs: Entries, *, is_pooled: bool) -> "Sums":
        chunk = _Chunk.of(pairs, self)
        change = chunk.plain()
        plain = _add(self.hi[:PLAIN], self.lo[:PLAIN], *change)
        extremes = self.extremes if chunk.index is None else chunk.extremes(self.extremes)
        if is_pooled:
            moments = (self.hi[PLAIN:], self.lo[PLAIN:])
            return _joined(plain, moments, self.ratio, extremes)
        ratio = _ratio(plain[0])
        here = chunk.moments(ratio)
        moments = _add(*self.moments_around(ratio), here, torch.zeros_like(here))
        return _joined(plain, moments, ratio, extremes)

    def moments_around(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments of residuals moved to be around these ratios."""
        difference = ratio - self.ratio
        _, rw, ww = self.hi[PLAIN:] + self.lo[PLAIN:]
        change = torch.stack(
            [
                difference * (difference * ww - 2 * rw),
                -difference * ww,
                torch.zeros_like(difference),
            ]
        )
        return _add(self.hi[PLAIN:], self.lo[PLAIN:], change, torch.zeros_like(change))


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Pairs of one kind end to end: x and w, the size of each batch (None: pooled), the groups."""

    x: Tensor
    w: Tensor
    sizes: list[int] | None
    index: Tensor | None
    groups: int

    @classmethod
    def of(cls, pairs: Entries, sums: Sums) -> "_Chunk":
        like = sums.hi
        index = _flat(pairs.groups, like.device) if pairs.groups else None
        return cls(
            _flat(pairs.totals, like.device).to(like),
            _flat(pairs.weights, like.device).to(like),
            [total.numel() for total in pairs.totals] if pairs.totals[0].ndim else None,
            None if index is None else index.to(like.device, torch.int64),
            sums.groups,
        )

    def extremes(self, before: Tensor) -> Tensor:
        assert self.index is not None
        if not self.index.numel():
            return before
        low, high = self.index.aminmax()
        dtype = before.dtype
        return torch.stack(
            [torch.minimum(before[0], low.to(dtype)), torch.maximum(before[1], high.to(dtype))]
        )

    def plain(self) -> tuple[Tensor, Tensor]:
        """Return the rows TOTAL to BATCHES, as hi and lo."""
        samples = self._counted()
        total, weight = exact_sum(self.x), exact_sum(self.w)
        means, batches = _means(self._by_batch(self.x), self._by_batch(self.w))
        zero = torch.zeros_like(means)
        hi = torch.stack([total[0], weight[0], samples.sum().to(means), means, batches])[:, None]
        lo = torch.stack([total[1], weight[1], zero, zero, zero])[:, None]
        if self.index is None:
            return hi, lo
        of_groups = self._plain_of_groups(samples)
        return torch.cat([hi, of_groups[0]], 1), torch.cat([lo, of_groups[1]], 1)

    def moments(self, ratio: Tensor) -> Tensor:
        """Return the rows RR, RW and WW around these ratios."""
        r = self.x - ratio[0] * self.w
        products = (r * r, r * self.w, self.w * self.w)
        overall = torch.stack([product.sum() for product in products])[:, None]
        if self.index is None:
            return overall
        bucket = self._bucket()
        # the bucket of indices out of range comes last, and its ratio is nobody's
        around = torch.cat([ratio[1:], ratio[:1]])[bucket]
        r = self.x - around * self.w
        of_groups = torch.stack([r * r, r * self.w, products[2]])
        return torch.cat([overall, _sum_by(of_groups, bucket, self.groups)], 1)

    def _plain_of_groups(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        bucket = self._bucket()
        hi, lo = _exact_sum_by(torch.stack([self.x, self.w]), bucket, self.groups)
        number = _sum_by(samples[None].to(hi), bucket, self.groups)
        cells = self._batch() * (self.groups + 1) + bucket
        both = torch.stack([self.x, self.w])
        by_cell = _sum_by(both, cells, self._batches() * (self.groups + 1))
        x, w = by_cell.view(2, self._batches(), self.groups + 1)[:, :, :-1].unbind(0)
        means, batches = _means(x, w)
        zeros = torch.zeros_like(hi[0])
        return (
            torch.stack([hi[0], hi[1], number[0], means, batches]),
            torch.stack([lo[0], lo[1], zeros, zeros, zeros]),
        )

    def _counted(self) -> Tensor:
        # no element counts of a sample with the pair (0, 0)
        return torch.logical_or(self.x, self.w)

    def _bucket(self) -> Tensor:
        assert self.index is not None
        inside = (self.index >= 0) & (self.index < self.groups)
        return torch.where(inside, self.index, self.groups)

    def _batches(self) -> int:
        return len(self.x) if self.sizes is None else len(self.sizes)

    def _batch(self) -> Tensor:
        numbers = torch.arange(self._batches(), device=self.x.device)
        if self.sizes is None:
            return numbers
        if len(set(self.sizes)) == 1:
            return numbers[:, None].expand(-1, self.sizes[0]).flatten()
        return torch.cat([n.expand(size) for n, size in zip(numbers, self.sizes, strict=True)])

    def _by_batch(self, values: Tensor) -> Tensor:
        if self.sizes is None:
            return values
        if len(set(self.sizes)) == 1:
            return values.view(len(self.sizes), self.sizes[0]).sum(1)
        return torch.stack([part.sum() for part in torch.split(values, self.sizes)])


def exact_sum(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum over the last dimension as hi and lo; nothing is lost in float32."""
    if values.dtype == torch.float64:
        total = values.sum(-1)
        return total, torch.zeros_like(total)
    hi, lo = values, torch.zeros_like(values)
    while hi.shape[-1] > 1:
        half = (hi.shape[-1] + 1) // 2
        odd = 2 * half - hi.shape[-1]
        right = torch.nn.functional.pad(hi[..., half:], (0, odd))
        rest = torch.nn.functional.pad(lo[..., half:], (0, odd))
        hi, lo = _add(hi[..., :half], lo[..., :half], right, rest)
    return hi.sum(-1), lo.sum(-1)


def _exact_sum_by(values: Tensor, bucket: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    if values.dtype == torch.float64:
        total = _sum_by(values, bucket, groups)
        return total, torch.zeros_like(total)
    mine = bucket == torch.arange(groups, device=bucket.device)[:, None]
    return exact_sum(torch.where(mine, values[:, None], 0))


def _sum_by(values: Tensor, bucket: Tensor, buckets: int) -> Tensor:
    """Sum rows of values by bucket; what is in a bucket past the last is dropped."""
    sums = values.new_zeros((values.shape[0], buckets + 1)).index_add(1, bucket, values)
    return sums[:, :buckets]


def _means(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the means of batches that have weight, and how many have."""
    some = w != 0
    return torch.where(some, x / w, 0).sum(0), some.sum(0).to(x.dtype)


def _ratio(plain: Tensor) -> Tensor:
    x, w = plain[TOTAL], plain[WEIGHT]
    return torch.where(w == 0, 0, x / w)


def _add(hi: Tensor, lo: Tensor, more: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    total = hi + more
    back = total - hi
    error = (hi - (total - back)) + (more - back) + lo + rest
    # an infinite sum has no error term: inf - inf is nan
    error = torch.where(total.isfinite(), error, 0)
    sum_ = total + error
    return sum_, torch.where(total.isfinite(), error - (sum_ - total), 0)


def _joined(
    plain: tuple[Tensor, Tensor],
    moments: tuple[Tensor, Tensor],
    ratio: Tensor,
    extremes: Tensor,
) -> Sums:
    hi, lo = (torch.cat([p, m]) for p, m in zip(plain, moments, strict=True))
    return Sums(hi, lo, ratio, extremes)


def _flat(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the parts end to end; parts of several types or devices are brought to one."""
    join = torch.cat if parts[0].ndim else torch.stack
    if len(set(map(_TYPE, parts))) > 1:
        parts = [part.to(device, exact_dtype(device)) for part in parts]
    try:
        return join(list(parts))
    except RuntimeError:
        return join([part.to(device) for part in parts])

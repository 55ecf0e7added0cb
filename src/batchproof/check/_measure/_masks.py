"""Facts about the samples before any cut is made: shapes, widths, and which elements count.

What is evident is taken as it is: a boolean tensor, labels that hold -100, integer labels under a
key that says so. What only may be a mask is tried: a tensor of zeros and ones, the value that
collate pads integers with, a number that is another tensor's length. It is one if a sample without
it gives nothing: no gradient (or 0 / 0), or none that shows beside the other samples.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import ProbeError
from batchproof._trees import leaves
from batchproof.check._measure._cuts import Facts, MicroBatch
from batchproof.check._measure._run import (
    Observation,
    RunOptions,
    Subject,
    make_batch,
    one_line,
    run_once,
)
from batchproof.check._measure._samples import (
    IGNORED,
    as_tensors,
    edited,
    is_label,
    keeps_order,
    shape_of,
)

_MOST_TRIED = 4
_NOTHING = 1e-9
# samples beside which an emptied one is tried
_FEW = 3

Keep = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mask:
    """Where a sample says which of its elements count.

    Attributes:
        path: of the tensor in the sample.
        kind: "mask" where it is zero for what does not count, "value" where it then holds a value,
            "length" where it is the number of elements, which come first.
        value: the value of what does not count.
    """

    path: str
    kind: str
    value: int = 0

    @property
    def parts(self) -> bool:
        """Return whether any part of a sample's elements can be masked."""
        return self.kind != "length"

    def narrowed(self, sample: Any, keep: Keep) -> Any:
        """Return the sample with fewer elements that count.

        Args:
            sample: the sample.
            keep: maps the boolean mask of what counts to a narrower one.
        """
        return edited(sample, self.path, lambda leaf: self._change(leaf, keep))

    def _change(self, leaf: Tensor, keep: Keep) -> Tensor:
        if self.kind == "mask":
            return keep(leaf != 0).to(leaf.dtype)
        if self.kind == "value":
            return torch.where(keep(leaf != self.value), leaf, self.value)
        return torch.zeros_like(leaf)

    def emptied(self, sample: Any) -> Any:
        """Return the sample with no element that counts."""
        return self.narrowed(sample, torch.zeros_like)

    def count(self, sample: Any) -> int:
        """Return the number of elements of a sample that count."""
        counts: list[int] = []

        def look(counting: Tensor) -> Tensor:
            counts.append(int(counting.sum()))
            return counting

        self.narrowed(sample, look)
        return counts[0]


def evident_mask(samples: Sequence[Any]) -> Mask | None:
    """Return the mask that samples evidently have.

    Args:
        samples: the samples.
    """
    tensors = [(path, leaf) for path, leaf in leaves(as_tensors(samples[0])) if leaf.ndim > 0]
    for path, leaf in tensors:
        if leaf.dtype == torch.bool:
            return Mask(path, "mask")
    for path, leaf in tensors:
        if not leaf.is_floating_point() and (is_label(path) or _holds(samples, path, IGNORED)):
            return Mask(path, "value", IGNORED)
    return None


def likely_masks(subject: Subject) -> list[Mask]:
    """Return the tensors that may say which elements count, the likelier first.

    Args:
        subject: the user's parts.
    """
    trees = [dict(leaves(as_tensors(sample))) for sample in subject.samples]
    first = trees[0]
    common = [path for path in first if all(path in tree for tree in trees)]
    columns = {path: [tree[path] for tree in trees] for path in common}
    flags = [p for p, column in columns.items() if first[p].ndim > 0 and _flags(column)]
    flags.sort(key=lambda path: "mask" not in path)
    lengths = [p for p, column in columns.items() if _lengths(column, columns)]
    whole = [p for p, column in columns.items() if _integers(column) and p not in flags]
    values = [Mask(p, "value", v) for v in _fillers(subject) for p in reversed(whole)]
    masks = [Mask(p, "mask") for p in flags], [Mask(p, "length") for p in lengths], values
    return [mask for group in masks for mask in group][:_MOST_TRIED]


def _holds(samples: Sequence[Any], path: str, value: int) -> bool:
    tensors = [leaf for sample in samples for at, leaf in leaves(as_tensors(sample)) if at == path]
    return any(bool((leaf == value).any()) for leaf in tensors)


def _flags(column: Sequence[Tensor]) -> bool:
    return all(
        bool(((leaf == 0) | (leaf == 1)).all()) and bool((leaf == 1).any()) for leaf in column
    )


def _integers(column: Sequence[Tensor]) -> bool:
    return all(leaf.ndim > 0 and not leaf.is_floating_point() for leaf in column)


def _lengths(column: Sequence[Tensor], others: dict[str, list[Tensor]]) -> bool:
    if any(leaf.numel() != 1 or leaf.is_floating_point() for leaf in column):
        return False
    numbers = [int(leaf) for leaf in column]
    long = [c for c in others.values() if all(leaf.ndim > 0 and len(leaf) > 1 for leaf in c)]
    return any([len(leaf) for leaf in other] == numbers for other in long)


def _fillers(subject: Subject) -> Iterator[int]:
    """Yield the values that collate pads integers with, in the shortest sample's row."""
    sizes = [sum(leaf.numel() for _, leaf in leaves(as_tensors(s))) for s in subject.samples]
    shortest = min(range(len(sizes)), key=sizes.__getitem__)
    alone = dict(leaves(make_batch(subject, MicroBatch((shortest,)))))
    together = dict(leaves(make_batch(subject, MicroBatch(tuple(range(len(sizes)))))))
    values = set()
    for path, leaf in reversed(together.items()):
        small = alone.get(path)
        if small is None or leaf.is_floating_point() or leaf.ndim < 2 or leaf.dtype == torch.bool:
            continue
        if len(leaf) != len(sizes) or small.shape[1:] == leaf.shape[1:]:
            continue
        row = leaf[shortest].flatten()
        pads_left = not torch.equal(row[: small.numel()], small.flatten())
        value = int(row[0] if pads_left else row[-1])
        if value not in values:
            values.add(value)
            yield value


def masks_all(subject: Subject, mask: Mask) -> bool:
    """Return whether a sample emptied by a mask gives nothing, and harms nothing beside others.

    Args:
        subject: the user's parts.
        mask: what may be a mask.
    """
    count = len(subject.samples)
    try:
        trial = replace(subject, samples=(*subject.samples, mask.emptied(subject.samples[0])))
        few = tuple(range(min(count, _FEW)))
        beside = _run_samples(trial, (*few, count))
        return _finite(beside) and (
            _gives_nothing(trial, count, beside) or _same(subject, beside, _run_samples(trial, few))
        )
    except Exception:
        return False


def _gives_nothing(trial: Subject, index: int, beside: Observation) -> bool:
    """Return whether a sample alone has no gradient, or 0 / 0; one that cannot be run may have."""
    try:
        alone = _run_samples(trial, (index,))
    except Exception:
        return False
    return not _finite(alone) or _size(trial, alone) <= _NOTHING * _size(trial, beside)


def _run_samples(subject: Subject, samples: tuple[int, ...]) -> Observation:
    result = run_once(subject, (MicroBatch(samples),), RunOptions())
    if subject.kind == "step" and not result.gradients:
        raise ProbeError("no gradient")
    return result


def _values(subject: Subject, result: Observation) -> list[Tensor]:
    if subject.kind == "evaluate":
        return [torch.tensor([result.loss], dtype=torch.float64)]
    return [gradient.double() for gradient in result.gradients.values()]


def _finite(result: Observation) -> bool:
    loss = torch.tensor(0.0 if result.loss is None else result.loss)
    return all(bool(v.isfinite().all()) for v in (loss, *result.gradients.values()))


def _size(subject: Subject, result: Observation) -> float:
    return math.sqrt(sum(float(v.norm()) ** 2 for v in _values(subject, result)))


def _same(subject: Subject, one: Observation, other: Observation) -> bool:
    pairs = zip(_values(subject, one), _values(subject, other), strict=True)
    gap = math.sqrt(sum(float((a - b).norm()) ** 2 for a, b in pairs))
    near = 1e-9 if subject.dtype == torch.float64 else 1e-5
    return gap <= near * _size(subject, one)


def gather_facts(
    subject: Subject, *, window: int | None, mask: Callable[[object], object] | None
) -> tuple[Subject, Facts]:
    """Look at the samples, and add the fully masked one where one can be made.

    Args:
        subject: the user's parts.
        window: micro-batches per window.
        mask: the user's own way to mask a sample.
    """
    count = len(subject.samples)
    singles = [make_batch(subject, MicroBatch((i,))) for i in range(count)]
    sizes = [sum(leaf.numel() for _, leaf in leaves(batch)) for batch in singles]
    shapes = {shape_of(batch) for batch in singles}
    beside = None
    if len(shapes) > 1 and subject.pad is None:
        longest = max(range(count), key=sizes.__getitem__)
        beside = longest if _slices(subject, longest, singles) else None
    facts = Facts(
        count, tuple(sizes), beside=beside, padding=subject.pad is not None, window=window
    )
    if mask is not None:
        return _with_masked(subject, mask), replace(facts, masked=True)
    likeliest = evident_mask(subject.samples)
    likely = likely_masks(subject) if likeliest is None else []
    likeliest = likeliest or next((one for one in likely if masks_all(subject, one)), None)
    if likeliest is not None:
        return _with_masked(subject, likeliest.emptied), replace(facts, masked=True, mask=likeliest)
    ragged = len(shapes) > 1
    return subject, replace(facts, unmasked=ragged or bool(likely))


def _with_masked(subject: Subject, mask: Callable[[Any], object]) -> Subject:
    try:
        return replace(subject, samples=(*subject.samples, mask(subject.samples[0])))
    except Exception as error:
        raise ProbeError(f"mask(sample) failed: {one_line(error)}.") from error


def _slices(subject: Subject, longest: int, singles: list[Any]) -> bool:
    """Return whether rows can be taken out of a batch: samples lead, in the order given."""
    for index, single in enumerate(singles):
        if index == longest:
            continue
        try:
            row = make_batch(subject, MicroBatch((index,), beside=(longest,)))
        except ProbeError:
            return False
        if row is None or not keeps_order(single, row):
            return False
    return True

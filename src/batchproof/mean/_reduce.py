"""From losses to pairs: each sample's total and weight, under the unit that is meant.

    unit         x_i                                     w_i
    element      sum over the sample's unmasked elements  number (or weight) of them
    sample       mean over the sample's unmasked elements 1 (or the sample's weight)
    sample-sum   sum over the sample's unmasked elements  1 (or the sample's weight)

A sample with no unmasked element has the pair (0, 0) under every unit. What is under a mask is
replaced by zero and never multiplied by it, since nan * 0 is nan.
"""

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from batchproof._errors import SettingError, ShapeError
from batchproof.mean._mean import Mean, Unit, exact_dtype

NARROW = frozenset(
    dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize < 4
)
"""The floats narrower than float32, which losses are never summed in."""


def reduce(
    losses: Num[Tensor, "samples *elements"] | Bool[Tensor, "samples *elements"],
    *,
    unit: Unit = "element",
    mask: Bool[Tensor, "samples *elements"] | None = None,
    weight: Num[Tensor, "..."] | None = None,
    segments: Int[Tensor, "samples *elements"] | None = None,
    num_segments: int | None = None,
) -> Mean:
    """Reduce losses, one per element, to one pair per sample.

    Args:
        losses: one loss per element, shape (samples, *elements). Integers and booleans count as
            float32; a float narrower than float32 is summed in float32.
        unit: what the mean is a mean of.
        mask: True where an element counts; of exactly the shape of losses. An element of weight 0
            counts as masked.
        weight: one per sample, shape (samples,), or one per element, of the shape of losses. A
            sample's weight multiplies its total and its weight alike; weights of elements do
            so within the sample. A weight is data, without a graph; that of something masked may
            be anything.
        segments: for packed sequences: the sample that each element belongs to, -1 for padding,
            of the shape of losses. Pairs are then one per segment.
        num_segments: the number of segments; without it the largest is read on the host.

    Returns:
        Pairs of shape (samples,), or (num_segments,) for packed sequences.

    Raises:
        ShapeError: if mask, weight or segments would have to be broadcast, or a segment is
            num_segments or more.
        SettingError: if losses are complex, mask is not of booleans, weight takes a gradient,
            something is not a tensor, or num_segments is given without segments.
        UnitError: if the unit is not one of the three.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([[1.0, 3.0], [8.0, float("nan")]])
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> reduce(losses, mask=mask).item(), reduce(losses, mask=mask, unit="sample").item()
        (4.0, 5.0)
    """
    return reduce_counted(
        losses,
        None,
        unit=unit,
        mask=mask,
        weight=weight,
        segments=segments,
        num_segments=num_segments,
    )


def reduce_counted(
    losses: Num[Tensor, "samples *elements"] | Bool[Tensor, "samples *elements"],
    counts: Num[Tensor, "samples *elements"] | Bool[Tensor, "samples *elements"] | None,
    *,
    unit: Unit,
    mask: Bool[Tensor, "samples *elements"] | None = None,
    weight: Num[Tensor, "..."] | None = None,
    segments: Int[Tensor, "samples *elements"] | None = None,
    num_segments: int | None = None,
) -> Mean:
    """Reduce losses that hold their weights already, such as those under class weights.

    Args:
        losses: one loss per element, times the weight that `counts` gives it.
        counts: what each element adds to the weight; without it each adds 1.
        unit: as in `reduce`.
        mask: as in `reduce`.
        weight: as in `reduce`; it multiplies losses and counts alike.
        segments: as in `reduce`.
        num_segments: as in `reduce`.

    Returns:
        Pairs of shape (samples,), or (num_segments,) for packed sequences.

    Raises:
        ShapeError: as in `reduce`.
        SettingError: as in `reduce`.
    """
    expect_tensor("losses", losses)
    if losses.ndim == 0:
        raise ShapeError(
            "losses have shape (); expected one loss per sample or more, shape (samples, ...). "
            'Build the criterion with reduction="none".'
        )
    if losses.dtype in NARROW or not losses.is_floating_point():
        refuse_complex("losses", losses)
        losses = losses.float()
    if losses.ndim == 1 and counts is not None and mask is weight is segments is None:
        return _pairs(losses, counts.to(exact_dtype(losses.device)), None, unit)
    if mask is not None:
        expect_shape("mask", mask, losses)
        expect_bool(mask)
    if segments is not None:
        expect_segments(segments, losses)
        mask = segments >= 0 if mask is None else mask & (segments >= 0)
    samples = number_of_samples(losses, segments, num_segments)
    of_sample = of_element = None
    if weight is not None:
        of_sample, of_element = split_weight(weight, losses, samples)
    if of_element is not None:
        of_element = _of_what_counts(of_element, losses, counts, mask)
        mask = of_element != 0
        losses = losses * of_element.to(losses.dtype)
        counts = of_element if counts is None else counts * of_element
    if mask is not None:
        losses = torch.where(mask, losses, 0)
        counts = mask if counts is None else torch.where(mask, counts, 0)
    total = sum_each(losses, segments, samples)
    count = _count_each(counts, losses, segments, samples)
    return _pairs(total, count, of_sample, unit)


def _of_what_counts(
    weight: Tensor, losses: Tensor, counts: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Return the weights of elements with 0 for those that do not count, whose own may be NaN."""
    if mask is not None:
        weight = torch.where(mask, weight, 0)
    if counts is not None:
        weight = torch.where((counts == 0) & (losses == 0), 0, weight)
    return weight


def _pairs(
    total: Float[Tensor, " samples"],
    count: Float[Tensor, " samples"],
    of_sample: Float[Tensor, " samples"] | None,
    unit: Unit,
) -> Mean:
    weight = count if unit == "element" else (count != 0).to(count.dtype)
    if unit != "element":
        total = torch.where(count == 0, 0, total)
    if unit == "sample":
        total = total / torch.where(count == 0, 1, count).to(total.dtype)
    if of_sample is not None:
        # that of a sample in which nothing counts may be NaN, too
        of_sample = torch.where((count == 0) & (total == 0), 0, of_sample)
        total = torch.where(of_sample == 0, 0, total * of_sample.to(total.dtype))
        weight = weight * of_sample
    return Mean(total, weight, unit)


def sum_each(values: Tensor, segments: Tensor | None, samples: int) -> Tensor:
    """Return the sum of each sample's values, or of each segment's."""
    if segments is None:
        return values if values.ndim == 1 else values.flatten(1).sum(1)
    # the first bucket takes the padding, and is dropped; index_add refuses one past the last
    bucket = torch.where(segments < 0, 0, segments + 1).flatten()
    return values.new_zeros(samples + 1).index_add(0, bucket, values.flatten())[1:]


def number_of_samples(losses: Tensor, segments: Tensor | None, number: int | None) -> int:
    """Return the number of samples, or of segments; where reading is free, check the segments.

    Raises:
        SettingError: if a number is given without segments.
        ShapeError: if a segment is past it.
    """
    if segments is None:
        if number is not None:
            raise SettingError(
                f"num_segments is {number} without segments; give the sample that each element "
                "belongs to: segments, of the shape of losses."
            )
        return losses.shape[0]
    if number is None:
        return int(segments.max()) + 1 if segments.numel() else 0
    readable = segments.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and segments.numel() and (largest := int(segments.max())) >= number:
        raise ShapeError(
            f"segments go up to {largest} but num_segments is {number}; expected each below it, or "
            f"-1 for padding. Give num_segments={largest + 1}, or -1 to elements of no sample."
        )
    return number


def _count_each(
    counts: Tensor | None, losses: Tensor, segments: Tensor | None, samples: int
) -> Tensor:
    dtype = exact_dtype(losses.device)
    if counts is None:
        elements = losses[0].numel() if samples else 0
        return torch.full((samples,), elements, dtype=dtype, device=losses.device)
    return sum_each(counts.to(dtype), segments, samples)


def split_weight(
    weight: Tensor, losses: Tensor, samples: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return the weight as (one per sample, one per element), one of which is None.

    Raises:
        ShapeError: if it is neither.
        SettingError: if it wants a gradient, or is not a tensor.
    """
    expect_tensor("weight", weight)
    refuse_graph("weight", weight)
    refuse_complex("weight", weight)
    weight = weight.to(exact_dtype(losses.device))
    if weight.shape == (samples,):
        return weight, None
    if weight.shape == losses.shape:
        return None, weight
    raise ShapeError(
        f"weight has shape {tuple(weight.shape)} but losses have shape {tuple(losses.shape)}; "
        f"expected one weight per sample, ({samples},), or one per element, {tuple(losses.shape)}. "
        "Expand it yourself: weight.expand_as(losses)."
    )


def expect_bool(mask: Tensor) -> None:
    """Refuse a mask that is not of booleans, such as an attention mask of integers.

    Raises:
        SettingError: if it is not.
    """
    expect_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise SettingError(
            f"mask has dtype {mask.dtype}; expected torch.bool, True where an element counts. "
            "Convert it yourself: mask.bool()."
        )


def refuse_complex(name: str, tensor: Tensor) -> None:
    """Refuse complex numbers, whose imaginary part a loss or a weight would lose.

    Raises:
        SettingError: if the tensor holds such.
    """
    if tensor.is_complex():
        raise SettingError(
            f"{name} has dtype {tensor.dtype}; expected real numbers, since complex ones have no "
            "least. Take the modulus, or real and imaginary parts as two elements: "
            "torch.view_as_real."
        )


def expect_integers(name: str, indices: Tensor) -> None:
    """Refuse indices that are not whole numbers, such as those of samples or groups.

    Raises:
        SettingError: if they are not.
    """
    expect_tensor(name, indices)
    if indices.is_floating_point() or indices.is_complex():
        raise SettingError(
            f"{name} has dtype {indices.dtype}; expected indices, which are integers. Convert them "
            f"yourself: {name}.long()."
        )


def expect_segments(segments: Tensor, losses: Tensor) -> None:
    """Refuse segments that are not the index of a sample for each loss.

    Raises:
        ShapeError: if they are of another shape than the losses.
        SettingError: if they are not integers.
    """
    expect_shape("segments", segments, losses)
    expect_integers("segments", segments)


def refuse_graph(name: str, weight: Tensor) -> None:
    """Refuse a weight that wants a gradient, which a weight never takes.

    Raises:
        SettingError: if it does.
    """
    if weight.requires_grad:
        raise SettingError(
            f"{name} carries a graph, but a weight is data: no gradient would reach it. Give "
            f"{name}.detach(); of weights that are learned, multiply the losses, and make the pair "
            "yourself: Mean(total, weight)."
        )


def expect_tensor(name: str, value: object) -> None:
    """Refuse a list or a number where a tensor is expected.

    Raises:
        SettingError: if it is one.
    """
    if not isinstance(value, Tensor):
        raise SettingError(
            f"{name} is {type(value).__name__}; expected a tensor, one number per sample or an "
            f"element. Convert it yourself: torch.as_tensor({name})."
        )


def expect_shape(name: str, tensor: Tensor, losses: Tensor) -> None:
    """Refuse what has another shape than the losses.

    Raises:
        ShapeError: if it has.
        SettingError: if it is not a tensor.
    """
    expect_tensor(name, tensor)
    if tensor.shape != losses.shape:
        raise ShapeError(
            f"{name} has shape {tuple(tensor.shape)} but losses have shape {tuple(losses.shape)}; "
            "broadcasting would change the weight silently. "
            f"Expand it yourself: {name}.expand_as(losses)."
        )

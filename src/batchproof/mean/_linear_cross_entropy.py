"""Cross-entropy of a linear layer's output, a few tokens at a time.

With 128,000 classes the logits are by far the largest tensor of a language model, and plain
cross-entropy holds them several times over. Here they exist for one chunk of tokens at a time. With
p = softmax(logits), and scale s_n of token n in the total,

    total         = sum_n s_n * (logsumexp(logits_n) - logits_n[target_n])
    d total / d logits_n = s_n * (p_n - onehot(target_n))

so the gradients of hidden and weight are made in the same sweep as the losses, while a chunk's
logits are at hand. Gradients are linear in the incoming gradient: one number for all samples
multiplies them on the way back; where samples differ in it, the sweep is run once more.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from batchproof._errors import SettingError, ShapeError
from batchproof.mean._mean import Mean, Unit, check_unit, exact_dtype
from batchproof.mean._reduce import expect_bool

Wants = tuple[bool, bool, bool]


def linear_cross_entropy(
    hidden: Float[Tensor, "samples *elements width"],
    weight: Float[Tensor, "classes width"],
    target: Int[Tensor, "samples *elements"],
    *,
    bias: Float[Tensor, " classes"] | None = None,
    ignore_index: int = -100,
    mask: Bool[Tensor, "samples *elements"] | None = None,
    unit: Unit = "element",
) -> Mean:
    """Return the cross-entropy of `hidden @ weight.T + bias` without holding those logits.

    The same pair as `exact(F.cross_entropy)` of the product, in the memory of one chunk of logits.

    Args:
        hidden: what the last linear layer takes, shape (samples, *elements, width).
        weight: the linear layer's weight, shape (classes, width).
        target: class indices, one a token.
        bias: the linear layer's bias.
        ignore_index: a target that does not count.
        mask: True where a token counts, of the shape of target.
        unit: what the mean is a mean of.

    Returns:
        Pairs of shape (samples,).

    Raises:
        ShapeError: if the shapes disagree.
        SettingError: if the mask is not of booleans.
        UnitError: if the unit is not one of the three.

    Example:
        >>> import torch
        >>> hidden, layer = torch.ones(2, 3, 4), torch.nn.Linear(4, 5)
        >>> target = torch.tensor([[0, 1, 2], [3, -100, -100]])
        >>> loss = linear_cross_entropy(hidden, layer.weight, target, bias=layer.bias)
        >>> plain = torch.nn.functional.cross_entropy(layer(hidden).transpose(1, 2), target)
        >>> torch.allclose(loss.value(), plain)
        True

    References:
        Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024.
    """
    check_unit(unit)
    _expect_shapes(hidden, weight, target, bias, mask)
    counted = target != ignore_index
    if mask is not None:
        counted = counted & mask
    hidden = torch.where(counted.unsqueeze(-1), hidden, 0)
    hidden, weight, bias = _under_autocast(hidden, weight, bias)
    scale, of_mean = _scale_and_weight(counted, unit)
    total: Tensor = _Sweep.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        torch.where(counted, target, 0).reshape(-1, 1).long(),
        scale.to(_wide(hidden.dtype)).reshape(-1, 1),
        hidden.shape[0],
        torch.is_grad_enabled(),
    )
    return Mean(total, of_mean, unit)


def _scale_and_weight(counted: Tensor, unit: Unit) -> tuple[Tensor, Tensor]:
    """Return what each token's loss is multiplied by in the total, and each sample's weight."""
    scale = counted.to(exact_dtype(counted.device))
    counts = scale.flatten(1).sum(1) if scale.ndim > 1 else scale
    if unit == "element":
        return scale, counts
    if unit == "sample":
        divisor = torch.where(counts == 0, 1, counts)
        scale = scale / divisor.reshape(divisor.shape + (1,) * (scale.ndim - 1))
    return scale, (counts != 0).to(counts.dtype)


class _Sweep(torch.autograd.Function):
    """Sums over each sample's tokens of scale * loss; gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        scale: Tensor,
        samples: int,
        graph: bool,  # noqa: FBT001
    ) -> Tensor:
        # float16 waits for the incoming gradient, which holds the loss scale; a compiled graph
        # waits since it cannot choose by that gradient's values
        now = graph and hidden.dtype != torch.float16 and not torch.compiler.is_compiling()
        wants = ctx.needs_input_grad[:3] if now else (False, False, False)
        losses, gradients = _sweep(hidden, weight, bias, target, scale, wants)
        ctx.now, ctx.samples = now, samples
        ctx.save_for_backward(hidden, weight, bias, target, scale, *gradients)
        return (losses * scale).reshape(samples, len(losses) // max(samples, 1)).sum(1)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            msg = (
                "linear_cross_entropy was differentiated with create_graph=True, but has no second "
                "derivative. Use exact(F.cross_entropy) on the logits."
            )
            raise SettingError(msg)
        hidden, weight, bias, target, scale, *ready = ctx.saved_tensors
        if ctx.now and _is_uniform(incoming):
            factor = incoming[0] if ctx.samples else incoming.sum()
            gradients = [None if g is None else g.to(factor.dtype) * factor for g in ready]
        else:
            tokens = len(hidden) // max(ctx.samples, 1)
            scale = scale * incoming.repeat_interleave(tokens).unsqueeze(1).to(scale.dtype)
            wants = ctx.needs_input_grad[:3]
            gradients = _sweep(hidden, weight, bias, target, scale, wants)[1]
        of_inputs = zip(gradients, (hidden, weight, bias), strict=True)
        return (*(None if g is None else g.to(x.dtype) for g, x in of_inputs), *[None] * 4)


def _sweep(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    scale: Tensor,
    wants: Wants,
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the losses, and gradients of sum(scale * losses) to hidden, weight and bias."""
    tokens, classes, wide = len(hidden), len(weight), _wide(hidden.dtype)
    losses = torch.empty_like(target, dtype=wide)
    of_hidden = torch.empty_like(hidden) if wants[0] else None
    of_weight = torch.zeros_like(weight, dtype=wide) if wants[1] else None
    of_bias = weight.new_zeros(classes, dtype=wide) if wants[2] else None
    size = _chunk(tokens, hidden.shape[1])
    buffer = hidden.new_empty(min(size, tokens), classes)
    for start in range(0, tokens, size):
        rows = slice(start, start + size)
        logits = torch.mm(hidden[rows], weight.t(), out=buffer[: tokens - start]).to(wide)
        if bias is not None:
            logits += bias
        losses[rows], exps, sums = _losses(logits, target[rows])
        if not any(wants):
            continue
        # d (scale * loss) / d logits = scale * (exps / sums - onehot)
        slopes = exps.mul_(scale[rows] / sums).scatter_add_(1, target[rows], -scale[rows])
        if of_bias is not None:
            of_bias += slopes.sum(0)
        slopes = slopes.to(hidden.dtype)
        if of_hidden is not None:
            torch.mm(slopes, weight, out=of_hidden[rows])
        if of_weight is not None:
            _add_product(of_weight, slopes.t(), hidden[rows])
    return losses, [of_hidden, of_weight, of_bias]


def _losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses, and exp(logits - max) in place of the logits, with its sums."""
    peak = logits.amax(1, keepdim=True)
    picked = logits.gather(1, target) - peak
    exps = logits.sub_(peak).exp_()
    sums = exps.sum(1, keepdim=True)
    return sums.log() - picked, exps, sums


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)


def _chunk(tokens: int, width: int) -> int:
    """Return how many tokens' logits to hold.

    As many as the layer is wide: then a chunk's logits are as many numbers as the weight, and
    reading and writing the weight's gradient once a chunk is a small share of the products. At
    least 128, below which products are slow, and at most 1024.
    """
    return min(max(tokens, 1), max(128, min(width, 1024)))


def _is_uniform(incoming: Tensor) -> bool:
    """Whether all samples have one incoming gradient, as they do when the pairs are pooled."""
    if len(incoming) <= 1 or incoming.stride() == (0,):
        return True
    # elsewhere the answer would have to be awaited
    return incoming.device.type == "cpu" and bool((incoming == incoming[0]).all())


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _under_autocast(
    hidden: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as a linear layer's inputs are cast under autocast."""
    kind = hidden.device.type
    if not torch.is_autocast_enabled(kind):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(kind)

    def cast(tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)

    return cast(hidden), cast(weight), None if bias is None else cast(bias)


def _expect_shapes(
    hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, mask: Tensor | None
) -> None:
    if hidden.ndim < 2 or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected "
            "(samples, ..., width) and (classes, width). Pass the last layer's input and weight."
        )
    for name, tensor, expected in (
        ("target", target, hidden.shape[:-1]),
        ("mask", mask, hidden.shape[:-1]),
        ("bias", bias, weight.shape[:1]),
    ):
        if tensor is not None and tensor.shape != expected:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)} but hidden has shape "
                f"{tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected "
                f"{tuple(expected)}. Nothing is broadcast."
            )
    if mask is not None:
        expect_bool(mask)

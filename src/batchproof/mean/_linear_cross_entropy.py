"""Cross-entropy of a linear layer's output, a few tokens at a time.

With 128,000 classes the logits are by far the largest tensor of a language model, and plain
cross-entropy holds them several times over. Here they exist for one chunk of tokens at a time. With
z = logits, p = softmax(z), and scale s_n of token n in the total,

    total         = sum_n s_n * (logsumexp(z_n) - z_n[target_n])
    d total / d z_n = s_n * (p_n - onehot(target_n))

so the gradients of hidden and weight are made in the same sweep as the losses, while a chunk's
logits are at hand. Gradients are linear in the incoming gradient: one number for all samples
multiplies them on the way back; where samples differ in it, the sweep is run once more.

With class weights w, smoothing e over C classes, z-loss v and a softcap c, a token of class y has

    z     = c * tanh(logits / c)
    loss  = (1 - e) w_y (lse - z_y)  +  e / C * sum_k w_k (lse - z_k)  +  v w_y lse**2
    slope = p * ((1 - e) w_y + e / C * sum_k w_k + 2 v w_y lse) - (1 - e) w_y onehot(y) - e / C * w
    d loss / d logits = slope * (1 - (z / c)**2),    lse = logsumexp(z)

References:
    Wijmans et al. (2024): Cut Your Losses in Large-Vocabulary Language Models.
    Szegedy et al. (2016): Rethinking the Inception Architecture for Computer Vision, section 7,
    label smoothing. Chowdhery et al. (2022): PaLM, section 5, the z-loss. Gemma Team (2024):
    Gemma 2, section 2, the softcap.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from batchproof._errors import SettingError, ShapeError
from batchproof.mean._mean import Mean, Unit, check_unit, exact_dtype
from batchproof.mean._reduce import (
    expect_bool,
    expect_segments,
    expect_tensor,
    number_of_samples,
    refuse_complex,
    refuse_graph,
    split_weight,
    sum_each,
)

Wants = tuple[bool, bool, bool]


def linear_cross_entropy(
    hidden: Float[Tensor, "*samples_and_elements width"],
    weight: Float[Tensor, "classes width"],
    target: Int[Tensor, "*samples_and_elements"],
    *,
    bias: Float[Tensor, " classes"] | None = None,
    ignore_index: int = -100,
    mask: Bool[Tensor, "*samples_and_elements"] | None = None,
    unit: Unit = "element",
    class_weight: Float[Tensor, " classes"] | None = None,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    sample_weight: Num[Tensor, "..."] | None = None,
    segments: Int[Tensor, "*samples_and_elements"] | None = None,
    num_segments: int | None = None,
) -> Mean:
    """Return the cross-entropy of `hidden @ weight.T + bias` without holding those logits.

    The same pair as `exact(F.cross_entropy)` of the product, in the memory of one chunk of logits.

    Args:
        hidden: the last linear layer's input, (samples, *elements, width), or (width,) of a token.
        weight: the linear layer's weight, shape (classes, width).
        target: class indices, one per token.
        bias: the linear layer's bias.
        ignore_index: a target that does not count.
        mask: True where a token counts, of the shape of target.
        unit: what the mean is a mean of.
        class_weight: by class, what a token's loss and its weight are multiplied by, as in torch.
        label_smoothing: the share of each target that is spread over all classes, from 0 to 1.
        softcap: logits are bent to softcap * tanh(logits / softcap) first; None leaves them.
        z_loss: adds z_loss * logsumexp(logits)**2 to each token's cross-entropy.
        sample_weight: one per sample or one per token, as `weight` of `reduce`.
        segments: as in `reduce`, of the shape of target; pairs are then one per segment.
        num_segments: the number of segments; without it the largest is read on the host.

    Returns:
        Pairs of shape (samples,) or (num_segments,); () of a token without a dimension of samples.

    Raises:
        ShapeError: if the shapes disagree.
        SettingError: if a dtype or a number is out of range, or a weight takes a gradient.
        UnitError: if the unit is not one of the three.

    Examples:
        >>> import torch
        >>> hidden, layer = torch.ones(2, 3, 4), torch.nn.Linear(4, 5, bias=False)
        >>> target = torch.tensor([[0, 1, 2], [3, -100, -100]])
        >>> plain = torch.nn.functional.cross_entropy(layer(hidden).transpose(1, 2), target)
        >>> torch.allclose(linear_cross_entropy(hidden, layer.weight, target).value(), plain)
        True
    """
    check_unit(unit)
    _expect_shapes(hidden, weight, target, bias, mask, class_weight)
    form = _form(class_weight, label_smoothing, softcap, z_loss)
    tokens = _tokens(target, ignore_index, mask, sample_weight, segments, num_segments)
    return _mean(hidden, weight, bias, tokens, form, unit)


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    """The tokens that count, and their weights.

    Attributes:
        target: the class of each, 0 where it does not count.
        valid: whether it counts.
        weight: the weight of each, 0 where it does not count.
        of_sample: the weight of each sample; None for 1 each.
        segments: the sample of each, where they are packed.
        samples: the number of samples.
        alone: whether it is one token, without a dimension of samples.
    """

    target: Tensor
    valid: Tensor
    weight: Tensor
    of_sample: Tensor | None
    segments: Tensor | None
    samples: int
    alone: bool

    def owners(self) -> Tensor | None:
        """Return each packed token's sample, from 1; 0 where it has none."""
        if self.segments is None:
            return None
        return torch.where(self.segments < 0, 0, self.segments + 1)

    def sum_each(self, values: Tensor) -> Tensor:
        """Return the sum over each sample's tokens."""
        return sum_each(values, self.segments, self.samples)

    def spread(self, of_samples: Tensor) -> Tensor:
        """Return each token's own of the numbers, one per sample."""
        owners = self.owners()
        if owners is not None:
            return _of_owners(of_samples, owners)
        return of_samples.reshape(of_samples.shape + (1,) * (self.target.ndim - 1))

    def scale_and_weight(self, counts: Tensor, unit: Unit) -> tuple[Tensor, Tensor]:
        """Return the factor of each token's loss in the total, and each sample's weight."""
        of_mean = self.sum_each(counts)
        if unit == "element" and self.of_sample is None:
            return self.weight, of_mean
        factor = torch.ones_like(of_mean)
        if unit != "element":
            some = of_mean != 0
            factor = some.to(of_mean.dtype)
            if unit == "sample":
                factor = factor / torch.where(some, of_mean, 1)
            of_mean = some.to(of_mean.dtype)
        if self.of_sample is not None:
            # the weight of a sample in which nothing counts may be NaN
            nothing = self.sum_each(self.weight != 0) == 0
            of_sample = torch.where(nothing, 0, self.of_sample)
            factor, of_mean = factor * of_sample, of_mean * of_sample
        return self.weight * self.spread(factor), of_mean


def _tokens(
    target: Tensor,
    ignore_index: int,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    segments: Tensor | None,
    num_segments: int | None,
) -> _Tokens:
    valid = _as_samples(target != ignore_index)
    if mask is not None:
        valid = valid & mask
    if segments is not None:
        expect_segments(segments, target)
        segments = _as_samples(segments)
        valid = valid & (segments >= 0)
    samples = number_of_samples(valid, segments, num_segments)
    of_sample = of_token = None
    if sample_weight is not None:
        expect_tensor("sample_weight", sample_weight)
        refuse_graph("sample_weight", sample_weight)
        refuse_complex("sample_weight", sample_weight)
        of_sample, of_token = split_weight(_as_samples(sample_weight), valid, samples)
    if of_token is None:
        weight = valid.to(exact_dtype(valid.device))
    else:
        weight = torch.where(valid, of_token, 0)
        valid = weight != 0
    alone = target.ndim == 0 and segments is None
    target = torch.where(valid, target, 0).long()
    return _Tokens(target, valid, weight, of_sample, segments, samples, alone)


def _as_samples(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim else tensor.unsqueeze(0)


def _mean(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: _Tokens, form: "_Form", unit: Unit
) -> Mean:
    own = form.of_targets(tokens.target, tokens.weight.dtype)
    scale, of_mean = tokens.scale_and_weight(tokens.weight * own, unit)
    owners = tokens.owners()
    hidden = torch.where(tokens.valid.unsqueeze(-1), hidden, 0)
    hidden, weight, bias = _under_autocast(hidden, weight, bias)
    total: Tensor = _Sweep.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        form.class_weight,
        tokens.target.reshape(-1, 1),
        scale.to(_wide(hidden.dtype)).reshape(-1, 1),
        None if owners is None else owners.flatten(),
        tokens.samples,
        (form.smoothing, form.softcap, form.z_loss),
        torch.is_grad_enabled(),
    )
    return Mean(total[0], of_mean[0], unit) if tokens.alone else Mean(total, of_mean, unit)


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """The parts of a token's loss besides the log-probability of its target.

    Attributes:
        class_weight: one per class; None for 1 each.
        smoothing: what is spread over all classes.
        softcap: what logits are bent to; 0 leaves them.
        z_loss: what the squared logsumexp is multiplied by.
    """

    class_weight: Tensor | None
    smoothing: float
    softcap: float
    z_loss: float

    def bend(self, logits: Tensor) -> Tensor | None:
        """Bend logits in place to the softcap; return the slope of that, or None without one."""
        if not self.softcap:
            return None
        logits.div_(self.softcap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(self.softcap)
        return slope

    def of_targets(self, target: Tensor, dtype: torch.dtype) -> Tensor | float:
        """Return the weight of each token's target."""
        return 1.0 if self.class_weight is None else self.class_weight.to(dtype)[target]

    def whole(self, classes: int) -> Tensor | float:
        """Return the sum of the weights of all classes."""
        return float(classes) if self.class_weight is None else self.class_weight.sum()

    def over_classes(self, logits: Tensor) -> Tensor | float:
        """Return sum_k w_k logits_k of each token; 0 where nothing is smoothed."""
        if not self.smoothing:
            return 0.0
        if self.class_weight is None:
            return logits.sum(1, keepdim=True)
        return torch.mv(logits, self.class_weight.to(logits.dtype)).unsqueeze(1)

    def smooth(self, slopes: Tensor, scale: Tensor) -> None:
        """Take e / C * w off slopes, in place, times each token's scale."""
        if not self.smoothing:
            return
        share = -self.smoothing / slopes.shape[1]
        if self.class_weight is None:
            slopes.add_(scale, alpha=share)
        else:
            slopes.addr_(scale.squeeze(1), self.class_weight.to(slopes.dtype), alpha=share)


def _form(
    class_weight: Tensor | None, label_smoothing: float, softcap: float | None, z_loss: float
) -> _Form:
    for name, number, fits, requirement in (
        ("label_smoothing", label_smoothing, 0 <= label_smoothing <= 1, "a share from 0 to 1"),
        ("softcap", softcap, softcap is None or softcap > 0, "a number above 0, or None"),
        ("z_loss", z_loss, z_loss >= 0, "a number of at least 0"),
    ):
        if not fits:
            raise SettingError(f"{name} is {number}; expected {requirement}.")
    if class_weight is not None:
        refuse_graph("class_weight", class_weight)
    return _Form(class_weight, float(label_smoothing), float(softcap or 0.0), float(z_loss))


def _of_owners(of_samples: Tensor, owners: Tensor) -> Tensor:
    """Return each token's own of the numbers, one per sample; 0 where the owner is 0."""
    return torch.cat([of_samples.new_zeros(1), of_samples])[owners]


class _Sweep(torch.autograd.Function):
    """Sums over each sample's tokens of scale * loss; gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        class_weight: Tensor | None,
        target: Tensor,
        scale: Tensor,
        owners: Tensor | None,
        samples: int,
        settings: tuple[float, float, float],
        graph: bool,  # noqa: FBT001
    ) -> Tensor:
        # float16 waits for the incoming gradient, which holds the loss scale; a compiled graph
        # waits since it cannot choose by that gradient's values
        now = graph and hidden.dtype != torch.float16 and not torch.compiler.is_compiling()
        wants = ctx.needs_input_grad[:3] if now else (False, False, False)
        form = _Form(class_weight, *settings)
        losses, gradients = _sweep(hidden, weight, bias, target, scale, form, wants)
        ctx.now, ctx.samples, ctx.settings = now, samples, settings
        ctx.save_for_backward(hidden, weight, bias, class_weight, target, scale, owners, *gradients)
        losses = losses * scale
        if owners is None:
            return losses.reshape(samples, len(losses) // max(samples, 1)).sum(1)
        return losses.new_zeros(samples + 1).index_add(0, owners, losses.squeeze(1))[1:]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise SettingError(
                "linear_cross_entropy was differentiated with create_graph=True, but has no second "
                "derivative. Use exact(F.cross_entropy) on the logits."
            )
        hidden, weight, bias, class_weight, target, scale, owners, *ready = ctx.saved_tensors
        if ctx.now and _is_uniform(incoming):
            factor = incoming[0] if ctx.samples else incoming.sum()
            # of nothing that counts the value is 0 / 0, and comes back as infinity
            factor = torch.where((scale != 0).any(), factor, 0)
            gradients = [None if g is None else g.to(factor.dtype) * factor for g in ready]
        else:
            form = _Form(class_weight, *ctx.settings)
            if owners is None:
                incoming = incoming.repeat_interleave(len(hidden) // max(ctx.samples, 1))
            else:
                incoming = _of_owners(incoming, owners)
            scale = torch.where(scale == 0, 0, scale * incoming.unsqueeze(1).to(scale.dtype))
            wants = ctx.needs_input_grad[:3]
            gradients = _sweep(hidden, weight, bias, target, scale, form, wants)[1]
        of_inputs = zip(gradients, (hidden, weight, bias), strict=True)
        return (*(None if g is None else g.to(x.dtype) for g, x in of_inputs), *[None] * 7)


def _sweep(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    scale: Tensor,
    form: _Form,
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
        losses[rows], slopes = _losses(
            logits, target[rows], scale[rows], form, with_slopes=any(wants)
        )
        if of_bias is not None:
            of_bias += slopes.sum(0)
        if of_hidden is None and of_weight is None:
            continue
        slopes = slopes.to(hidden.dtype)
        if of_hidden is not None:
            torch.mm(slopes, weight, out=of_hidden[rows])
        if of_weight is not None:
            _add_product(of_weight, slopes.t(), hidden[rows])
    return losses, [of_hidden, of_weight, of_bias]


def _losses(
    logits: Tensor, target: Tensor, scale: Tensor, form: _Form, *, with_slopes: bool
) -> tuple[Tensor, Tensor]:
    """Return losses and, with_slopes set, the slopes of scale * loss in place of the logits."""
    slope_of_cap = form.bend(logits)
    peak = logits.amax(1, keepdim=True)
    logit = logits.gather(1, target) - peak
    over_classes = form.over_classes(logits.sub_(peak))
    exps = logits.exp_()
    sums = exps.sum(1, keepdim=True)
    lse = sums.log()
    own = form.of_targets(target, lse.dtype)
    hard = (1 - form.smoothing) * own
    losses, pull = hard * (lse - logit), hard
    if form.smoothing:
        share, whole = form.smoothing / logits.shape[1], form.whole(logits.shape[1])
        losses, pull = losses + share * (whole * lse - over_classes), pull + share * whole
    if form.z_loss:
        lse = lse + peak
        losses = losses + form.z_loss * own * lse.square()
        pull = pull + 2 * form.z_loss * own * lse
    if not with_slopes:
        return losses, exps
    slopes = exps.mul_(scale * pull / sums).scatter_add_(1, target, -scale * hard)
    form.smooth(slopes, scale)
    return losses, slopes if slope_of_cap is None else slopes.mul_(slope_of_cap)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)


def _chunk(tokens: int, width: int) -> int:
    """Return the number of tokens whose logits are held at once.

    As many as the layer is wide: then a chunk's logits are as many numbers as the weight, and
    reading and writing the weight's gradient once a chunk is a small share of the products. At
    least 128, below which products are slow, and at most 1024.
    """
    return min(max(tokens, 1), max(128, min(width, 1024)))


def _is_uniform(incoming: Tensor) -> bool:
    """Return whether all samples have one incoming gradient, as those of pooled pairs do."""
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
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    class_weight: Tensor | None,
) -> None:
    alone = hidden.ndim == 1 and target.ndim == 0
    fits = (hidden.ndim > 1 or alone) and weight.ndim == 2 and hidden.shape[-1] == weight.shape[1]
    if not fits:
        raise ShapeError(
            f"hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected "
            "(samples, ..., width) and (classes, width). Pass the last layer's input and weight."
        )
    for name, numbers in (
        ("hidden", hidden),
        ("weight", weight),
        ("bias", bias),
        ("class_weight", class_weight),
    ):
        if numbers is not None:
            refuse_complex(name, numbers)
    for name, tensor, shape in (
        ("target", target, hidden.shape[:-1]),
        ("mask", mask, hidden.shape[:-1]),
        ("bias", bias, weight.shape[:1]),
        ("class_weight", class_weight, weight.shape[:1]),
    ):
        if tensor is not None and tensor.shape != shape:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)} but hidden has shape "
                f"{tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected "
                f"{tuple(shape)}. Nothing is broadcast."
            )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise SettingError(
            f"target has dtype {target.dtype}; expected class indices, which are integers. Convert "
            "them yourself: target.long()."
        )
    if mask is not None:
        expect_bool(mask)

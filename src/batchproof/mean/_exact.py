"""From a criterion to pairs: the mean that it means by reduction="mean", in a form that adds.

The mean of a batch's losses, taken by the criterion, hides the number it was divided by. Here the
criterion gives its losses one by one, and what it divides by is counted beside them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from batchproof._errors import CriterionError, ShapeError, shown
from batchproof.mean._exact_layout import BySample
from batchproof.mean._exact_specs import BY_FORWARD, BY_FUNCTION, Options, Spec
from batchproof.mean._mean import Mean, Unit, check_unit
from batchproof.mean._reduce import NARROW, expect_bool, expect_tensor, reduce, reduce_counted


@dataclass(frozen=True, slots=True)
class Criterion:
    """A loss of torch as a function that returns pairs; made by `exact`.

    Attributes:
        spec: what is known of the loss.
        function: gives the losses: the functional, or the module where there is no functional.
        module: the criterion, where it is a module; its settings are read at every call.
        bound: the settings of a functional.
        names: the names of its inputs, in order.
        unit: what the mean is a mean of.
    """

    spec: Spec
    function: Callable[..., Any]
    module: nn.Module | None
    bound: Options
    names: tuple[str, ...]
    unit: Unit

    def __call__(
        self,
        *inputs: Any,
        mask: Tensor | None = None,
        weight: Tensor | None = None,
        **keywords: Any,
    ) -> Mean:
        """Return one pair per sample.

        Args:
            *inputs: what the criterion takes, in its order: input and target, for most.
            mask: True where a loss counts, of the shape of the losses. What is under it reaches
                neither value nor gradient, whatever it is; for a function that is not torch's, the
                gradient is protected only where a whole sample is masked.
            weight: one per sample, or one per loss.
            **keywords: inputs given by the criterion's own names.

        Returns:
            Pairs of shape (samples,).

        Raises:
            ShapeError: if shapes disagree, or there is no dimension of samples.
            CriterionError: if inputs are missing, or a weight of the criterion's own varies by
                sample.
            SettingError: if the mask is not of booleans.
        """
        # called for every micro-batch: what a batch does not need is not called
        spec, options = self.spec, self.bound
        if self.module is not None:
            options = _options_of(self.module, spec)
        values: Sequence[Any] = inputs
        if keywords or len(inputs) != len(self.names):
            values = _in_order(self.names, inputs, keywords)
        if spec.prepare is not None:
            values = spec.prepare(values)
        if spec.widen and _any_narrow(values, options):
            values = [_widened(value) for value in values]
            options = {name: _widened(value) for name, value in options.items()}
        shape = spec.layout.losses_shape(values)
        if shape == ():
            _refuse_a_single_loss()
        if spec.shared:
            spec.expect_shared(values, options)
        if mask is not None or weight is not None:
            values = self._hide(values, mask, weight, shape)
        losses = spec.losses(self.function, values, options)
        if shape is None:
            if losses.ndim == 0:
                _refuse_a_single_loss()
            _expect_losses(losses, values, spec.module.__name__)
        counts = spec.counts(values, options)
        return reduce_counted(losses, counts, unit=self.unit, mask=mask, weight=weight)

    def __repr__(self) -> str:
        name = repr(self.module) if self.module else _name_of(self.function)
        settings = "".join(
            f", {key}={'(tensor)' if isinstance(value, Tensor) else value}"
            for key, value in self.bound.items()
            if value != signature(self.function).parameters[key].default
        )
        return f"exact({name}{settings}, unit={self.unit!r})"

    def _hide(
        self,
        inputs: Sequence[Any],
        mask: Tensor | None,
        weight: Tensor | None,
        shape: tuple[int, ...] | None,
    ) -> Sequence[Any]:
        """Return the inputs with what does not count replaced by harmless values."""
        counts = _counting(mask, weight, shape)
        if weight is not None and self.module is None:
            self._refuse_class_weights(weight, inputs)
        return inputs if counts is None else self.spec.layout.hide(counts, inputs)

    def _refuse_class_weights(self, weight: Tensor, inputs: Sequence[Any]) -> None:
        """Refuse a weight that could be one per class as well as one per sample."""
        if "weight" not in self.bound or self.bound["weight"] is not None:
            return
        samples, classes = len(inputs[0]), self.spec.classes(inputs)
        if weight.shape == (samples,) and samples == classes:
            name = _name_of(self.function)
            raise CriterionError(
                f"weight has shape {tuple(weight.shape)}, and {name} was given as many classes as "
                "samples, so it may be one per class or one per sample. Weights of classes are "
                f"settings: exact(functools.partial({name}, weight=...)); for those of samples "
                f"take the module: exact({self.spec.module.__name__}())."
            )


@dataclass(frozen=True, slots=True)
class PlainLoss:
    """A function of losses that is made to return pairs; made by `exact`.

    Attributes:
        function: returns one loss per element, shape (samples, *elements).
        unit: what the mean is a mean of; None where the function gives one loss per sample.
    """

    function: Callable[..., Any]
    unit: Unit | None

    def __call__(
        self,
        *inputs: Any,
        mask: Tensor | None = None,
        weight: Tensor | None = None,
        **keywords: Any,
    ) -> Mean:
        """Return one pair per sample.

        Args:
            *inputs: what the function takes.
            mask: True where a loss counts, of the shape of the losses. What is under it never
                reaches the value; a sample that is masked whole takes no gradient either, and the
                function sees 0 for its integers.
            weight: one per sample, or one per loss.
            **keywords: further inputs, by name.

        Returns:
            Pairs of shape (samples,).

        Raises:
            CriterionError: if the function returns no losses, or several per sample without a unit.
            SettingError: if the mask is not of booleans.
        """
        values = [*inputs, *keywords.values()]
        counts = _counting(mask, weight, None)
        visible = values if counts is None else BySample().hide(counts, values)
        by_name = dict(zip(keywords, visible[len(inputs) :], strict=True))
        losses = self.function(*visible[: len(inputs)], **by_name)
        _expect_losses(losses, values, _name_of(self.function))
        if self.unit is None and losses.ndim > 1:
            raise CriterionError(
                f"{_name_of(self.function)} returns losses of shape {tuple(losses.shape)}, so its "
                "mean may be one over elements or one over samples. Say which: "
                'exact(function, unit="element"), or "sample", or "sample-sum".'
            )
        return reduce(losses, unit=self.unit or "element", mask=mask, weight=weight)

    def __repr__(self) -> str:
        is_module = isinstance(self.function, nn.Module)
        name = repr(self.function) if is_module else _name_of(self.function)
        return f"exact({name}, unit={self.unit!r})" if self.unit else f"exact({name})"


def exact(criterion: Callable[..., Any], *, unit: Unit | None = None) -> Criterion | PlainLoss:
    """Return the criterion as a function that returns pairs, which add over any cut.

    It is called like the criterion, and also takes `mask` and `weight`:

        exact(criterion)(input, target, *, mask=None, weight=None) -> Mean

    Its value is what the criterion itself gives under reduction="mean", on the whole batch, and
    however the batch is cut: class weights, ignore_index and label smoothing included. Inputs
    narrower than float32 are widened to float32 first, except for criteria with a layer of their
    own, whose dtype decides: AdaptiveLogSoftmaxWithLoss, LinearCrossEntropyLoss.

    Args:
        criterion: a loss module of torch.nn, or its functional, with settings bound by
            functools.partial; or any function that returns losses of shape (samples, *elements).
        unit: what the mean is a mean of. Without it, what the criterion means by
            reduction="mean", whatever its reduction is set to ("none", "sum"); for KLDiv with
            reduction="batchmean", what that means: "sample-sum". CTC divides each sequence's loss
            by its target's length first: "sample". All others: "element". A function that is not
            torch's needs a unit as soon as it returns several losses per sample, and all that it
            returns counts: give a mask where some are ignored.

    Returns:
        A function of the criterion's inputs that returns a Mean of shape (samples,).

    Raises:
        CriterionError: if the criterion's mean does not split by samples, or is not known; if it
            has hooks, or is scripted.
        UnitError: if the unit is not one of the three.

    Examples:
        >>> import torch
        >>> criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
        >>> logits, target = torch.eye(3), torch.tensor([0, 1, 0])
        >>> loss = exact(criterion)
        >>> cut = loss(logits[:2], target[:2]) + loss(logits[2:], target[2:])
        >>> torch.allclose(cut.value(), criterion(logits, target))
        True

    References:
        PyTorch, `torch.nn.modules.loss`: what each loss divides by under reduction="mean".
    """
    if unit is not None:
        check_unit(unit)
    if isinstance(criterion, type) or not callable(criterion):
        raise CriterionError(
            f"the criterion is {shown(criterion)}; expected a loss that can be called, such as "
            "torch.nn.CrossEntropyLoss()."
        )
    if isinstance(criterion, nn.Module):
        return _of_module(criterion, unit)
    function, bound = _unbound(criterion)
    # a callable of one's own need not be hashable
    if not isinstance(function, Hashable) or function not in BY_FUNCTION:
        return PlainLoss(criterion, unit)
    return _of_functional(function, bound, unit)


def _of_module(module: nn.Module, unit: Unit | None) -> Criterion | PlainLoss:
    if isinstance(module, torch.jit.ScriptModule):
        raise CriterionError(
            f"{module.original_name} is scripted, which hides its settings; expected the module "
            "itself. Compile the model and its loss together, or script the model alone."
        )
    spec = BY_FORWARD.get(type(module).forward)
    name = type(module).__name__
    reduction = getattr(module, "reduction", "mean" if spec else "none")
    if spec is None:
        if reduction not in {"none", None}:
            raise CriterionError(
                f'{name} reduces its losses itself (reduction="{reduction}"), and how is not '
                'known. Build it with reduction="none", so that it returns one loss per element, '
                "and give exact the unit."
            )
        return PlainLoss(module, unit)
    names = tuple(signature(spec.module.forward).parameters)[1:]
    unit = unit or _unit_of(spec, reduction, name)
    return Criterion(spec, spec.function or module, module, {}, names, unit)


def _options_of(module: nn.Module, spec: Spec) -> Options:
    """Return the settings that a criterion has now.

    Raises:
        CriterionError: if it has forward hooks.
    """
    if module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001
        raise CriterionError(
            f"{type(module).__name__} has forward hooks, which change what it returns and would "
            "not be run here; expected a criterion without. Remove them, or wrap it in a "
            "function that returns one loss per element."
        )
    return {name: getattr(module, name) for name in spec.options}


def _of_functional(
    function: Callable[..., Any], bound: Mapping[str, Any], unit: Unit | None
) -> Criterion:
    spec, name = BY_FUNCTION[function], _name_of(function)
    parameters = signature(function).parameters
    settings = {key: value for key, value in bound.items() if key != "reduction"}
    extra = ", ".join(key for key in settings if key not in spec.options)
    if extra:
        raise CriterionError(
            f"{name} is bound with {extra}; expected any of "
            f"{', '.join((*spec.options, 'reduction'))}. Weights of samples go with each batch: "
            "exact(...)(input, target, weight=...)."
        )
    options = {key: parameters[key].default for key in spec.options} | settings
    inputs = tuple(
        key
        for key, parameter in parameters.items()
        if parameter.default is Parameter.empty and key not in spec.options
    )
    reduction = bound.get("reduction", "mean")
    unit = unit or _unit_of(spec, reduction, name)
    return Criterion(spec, function, None, options, inputs, unit)


def _unit_of(spec: Spec, reduction: str, name: str) -> Unit:
    """Return the unit of the mean that the criterion means; of "none" and "sum", of its mean."""
    if reduction in {"none", "sum"}:
        reduction = "mean"
    if reduction not in spec.units:
        raise CriterionError(
            f'{name} has reduction="{reduction}"; expected one of '
            f"{', '.join(map(repr, (*spec.units, 'none', 'sum')))}."
        )
    return spec.units[reduction]


def _unbound(criterion: Callable[..., Any]) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Return the function under functools.partial, and the settings bound to it."""
    if not isinstance(criterion, partial):
        return criterion, {}
    in_table = isinstance(criterion.func, Hashable) and criterion.func in BY_FUNCTION
    if criterion.args and in_table:
        raise CriterionError(
            f"{_name_of(criterion.func)} is bound to {len(criterion.args)} positional arguments; "
            "expected settings by name, such as partial(F.cross_entropy, label_smoothing=0.1)."
        )
    return criterion.func, criterion.keywords


def _in_order(
    names: tuple[str, ...], inputs: tuple[Any, ...], keywords: Mapping[str, Any]
) -> list[Any]:
    values = {**dict(zip(names, inputs, strict=False)), **keywords}
    if len(inputs) + len(keywords) != len(names) or set(values) != set(names):
        settings = not set(keywords) <= set(names)
        remedy = " Bind settings first: exact(functools.partial(...))." if settings else ""
        raise CriterionError(
            f"the criterion was called with {len(inputs)} inputs"
            f"{' and ' + ', '.join(keywords) if keywords else ''}; expected {', '.join(names)}, "
            f"and mask and weight by name.{remedy}"
        )
    return [values[name] for name in names]


def _any_narrow(inputs: Sequence[Any], options: Options) -> bool:
    return not NARROW.isdisjoint([getattr(v, "dtype", None) for v in (*inputs, *options.values())])


def _widened(value: Any) -> Any:
    return value.float() if getattr(value, "dtype", None) in NARROW else value


def _counting(
    mask: Tensor | None, weight: Tensor | None, shape: tuple[int, ...] | None
) -> Tensor | None:
    """Return the mask of the losses that count: unmasked, of a weight other than 0.

    Of the shape of the losses, or one per sample where that shape is not known; None if all count.
    """
    if mask is not None:
        expect_bool(mask)
    if weight is not None:
        expect_tensor("weight", weight)
    nonzero = None if weight is None else weight != 0
    parts = {name: part for name, part in (("mask", mask), ("weight", nonzero)) if part is not None}
    if not parts:
        return None
    if shape is None:
        rows = [part.flatten(1).any(1) for part in (p.unsqueeze(-1) for p in parts.values())]
        # reduce refuses those that differ
        return torch.stack(rows).all(0) if len({row.shape for row in rows}) == 1 else None
    for name, part in parts.items():
        shapes = (shape, shape[:1]) if name == "weight" else (shape,)
        if tuple(part.shape) not in shapes:
            raise ShapeError(
                f"{name} has shape {tuple(part.shape)} but losses have shape {tuple(shape)}; "
                "broadcasting would change the weight silently. Expand it yourself."
            )
    first, *rest = (_over(part, len(shape)).expand(shape) for part in parts.values())
    return first & rest[0] if rest else first


def _over(rows: Tensor, dimensions: int) -> Tensor:
    return rows.reshape(rows.shape + (1,) * (dimensions - rows.ndim))


def _refuse_a_single_loss() -> NoReturn:
    raise ShapeError(
        "the criterion gives a single loss, without a dimension of samples; expected a batch. "
        "Let a torch.utils.data.DataLoader batch the samples, or add the dimension: "
        "input.unsqueeze(0), target.unsqueeze(0)."
    )


def _expect_losses(losses: Any, inputs: Sequence[Any], name: str) -> None:
    if not isinstance(losses, Tensor):
        raise CriterionError(
            f"{name} returns {type(losses).__name__}; expected a tensor of losses, (samples, ...)."
        )
    if losses.ndim == 0:
        raise CriterionError(
            f"{name} returns one number for the whole batch, which hides what it was divided by "
            "and cannot be split by samples. Return one loss per element, without mean() or sum()."
        )
    tensors = [value for value in inputs if isinstance(value, Tensor) and value.ndim]
    if tensors and losses.shape[0] != tensors[0].shape[0]:
        raise ShapeError(
            f"{name} returns losses of shape {tuple(losses.shape)} for an input of shape "
            f"{tuple(tensors[0].shape)}; expected {tensors[0].shape[0]} samples first. "
            "Keep the dimension of samples: losses.view(samples, -1)."
        )


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)

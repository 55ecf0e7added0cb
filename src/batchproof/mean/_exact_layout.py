"""The layout of a criterion's tensors: its losses' shape, and what a mask hides of each input.

A loss is one number for each position of the first input, or for each position without the axis
that the loss sums over: the classes of a cross-entropy, the features of a distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor

from batchproof._errors import CriterionError, ShapeError, kind_of
from batchproof._trees import is_branch, items, rebuild

Likeness = Literal["input", "losses", "either"]


@runtime_checkable
class Layout(Protocol):
    """The shapes of one criterion."""

    def losses_shape(self, inputs: Sequence[Any]) -> tuple[int, ...] | None:
        """Return the shape of the losses, or None where only the criterion knows it.

        Raises:
            ShapeError: if the inputs' shapes disagree.
        """

    def hide(self, mask: Tensor, inputs: Sequence[Any]) -> list[Any]:
        """Return the inputs with what is under the mask replaced by harmless values."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Inputs whose positions are those of the losses, some with one axis more.

    Attributes:
        axis: the axis of the first input that the losses lack; None if they lack none.
        likes: for each input, whose shape it has: the first input's or the losses'.
        fills: for each input, a value that the criterion takes anywhere.
    """

    axis: int | None = None
    likes: tuple[Likeness, ...] = ("input", "input")
    fills: tuple[int, ...] = (0, 0)

    def losses_shape(self, inputs: Sequence[Any]) -> tuple[int, ...]:
        """Return the first input's shape without the axis, and check all inputs against it.

        Raises:
            ShapeError: if the inputs' shapes disagree.
        """
        shape: tuple[int, ...] = inputs[0].shape
        losses = shape
        if self.axis is not None:
            # without a batch the axis comes first
            axis = min(self.axis % max(len(shape), 1), max(len(shape) - 1, 0))
            losses = shape[:axis] + shape[axis + 1 :]
        for number in range(1, len(self.likes)):
            actual, like = inputs[number].shape, self.likes[number]
            fits = actual == (shape if like == "input" else losses)
            if not fits and not (like == "either" and actual == shape):
                _refuse_shape(number, actual, like, shape, losses)
        return losses

    def hide(self, mask: Tensor, inputs: Sequence[Any]) -> list[Any]:
        """Return the inputs with what is under the mask replaced by `fills`."""
        return [
            torch.where(self._cover(mask, tensor), tensor, fill)
            for tensor, fill in zip(inputs, self.fills, strict=True)
        ]

    def _cover(self, mask: Tensor, tensor: Tensor) -> Tensor:
        if self.axis is None or tensor.ndim == mask.ndim:
            return mask
        return mask.unsqueeze(self.axis)


@dataclass(frozen=True, slots=True)
class Temporal:
    """The layout of CTC: (time, samples, classes), targets, and two lengths per sample."""

    def losses_shape(self, inputs: Sequence[Any]) -> tuple[int, ...]:
        """Return (samples,), or () for one sequence without a batch dimension."""
        log_probs = inputs[0]
        return tuple(log_probs.shape[1:2]) if log_probs.ndim == 3 else ()

    def hide(self, mask: Tensor, inputs: Sequence[Any]) -> list[Any]:
        """Return the inputs with the sequences under the mask replaced by zeros."""
        log_probs, targets, input_lengths, target_lengths = inputs
        if targets.ndim == 2:
            cover = mask.unsqueeze(1)
        else:
            lengths = torch.as_tensor(target_lengths, device=mask.device)
            cover = mask.repeat_interleave(lengths)
        return [
            torch.where(mask.unsqueeze(1), log_probs, 0),
            torch.where(cover, targets, 0),
            input_lengths,
            target_lengths,
        ]


@dataclass(frozen=True, slots=True)
class BySample:
    """Inputs of which only the first dimension is known: that of the samples.

    What is under the mask is hidden where a whole sample is, in every tensor of a nested input:
    integers become 0, and the rest keeps its values and takes no gradient.

    Attributes:
        shared: the inputs, by number, that are not by sample, such as a layer's weight.
    """

    shared: tuple[int, ...] = ()

    def losses_shape(self, inputs: Sequence[Any]) -> None:  # noqa: ARG002
        """Return None: the function that is called decides."""
        return

    def hide(self, mask: Tensor, inputs: Sequence[Any]) -> list[Any]:
        """Return the inputs with the samples hidden that the mask, one per sample, leaves out."""
        return [
            value if number in self.shared else _hide_samples(mask, value)
            for number, value in enumerate(inputs)
        ]


def _hide_samples(mask: Tensor, tree: Any) -> Any:
    """Return an input with the samples hidden that the mask leaves out, however it is nested.

    Raises:
        CriterionError: if it is an object of which no copy can be made.
    """
    if isinstance(tree, Tensor):
        return _hide_rows(mask, tree)
    if not is_branch(tree):
        _refuse_opaque(mask, tree)
        return tree
    parts = [part for _, part in items(tree)]
    if _is_one_a_sample(mask, tree, parts):
        whole = zip(parts, mask, strict=True)
        return rebuild(tree, [_hide_rows(keep[None], part[None])[0] for part, keep in whole])
    return rebuild(tree, [_hide_samples(mask, part) for part in parts])


def _is_one_a_sample(mask: Tensor, tree: Any, parts: Sequence[Any]) -> bool:
    """Return whether a list holds a tensor for each sample, and not tensors of all samples."""
    if not isinstance(tree, list | tuple) or hasattr(tree, "_fields"):
        return False
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        return False
    return len(parts) == len(mask) and any(part.shape[:1] != mask.shape for part in parts)


def _refuse_opaque(mask: Tensor, value: object) -> None:
    """Refuse an object whose tensors take gradients, which could not be hidden in it.

    Raises:
        CriterionError: if it is one.
    """
    for part in getattr(value, "__dict__", {}).values():
        if isinstance(part, Tensor) and part.requires_grad and part.shape[:1] == mask.shape:
            raise CriterionError(
                f"an input is {kind_of(value)}, in which samples under the mask cannot be "
                "hidden; expected tensors, or lists, mappings, tuples or dataclasses of them. "
                "Pass its tensors themselves."
            )


def _hide_rows(mask: Tensor, tensor: Tensor) -> Tensor:
    if tensor.shape[:1] != mask.shape:
        return tensor
    cover = mask.reshape(mask.shape + (1,) * (tensor.ndim - 1))
    floating = tensor.is_floating_point() or tensor.is_complex()
    return torch.where(cover, tensor, tensor.detach() if floating else 0)


def _refuse_shape(
    number: int,
    actual: tuple[int, ...],
    like: Likeness,
    of_input: tuple[int, ...],
    of_losses: tuple[int, ...],
) -> NoReturn:
    fits = {"input": (of_input,), "losses": (of_losses,), "either": (of_losses, of_input)}[like]
    choices = " or ".join(str(tuple(shape)) for shape in dict.fromkeys(fits))
    raise ShapeError(
        f"argument {number + 1} of the criterion has shape {tuple(actual)} but the first has shape "
        f"{tuple(of_input)}; expected {choices}, since broadcasting would change the mean "
        "silently. Reshape it yourself."
    )

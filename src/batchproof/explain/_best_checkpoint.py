"""Topic best-checkpoint: what is kept (a copy or a reference), and by which number it is chosen.

A state_dict holds the parameters themselves. `best = model.state_dict()` refers to the tensors
that the optimiser keeps changing in place; at the end it holds the last epoch. Here the
same happens live to a list that an optimiser changes in place.
"""

import copy
from collections.abc import Sequence
from typing import Annotated

from batchproof.explain._explanation import Explanation
from batchproof.explain._values import finite, same_length
from batchproof.page import Bar, Bars, Code, Curves, Mark, Part, Series, Table, Text, Tone, number

_WORDS = {
    "copy": "a copy, by validation mean",
    "reference": "a reference, by validation mean",
    "last_batch": "a copy, by the last batch's loss",
    "never_updated": "a copy, the minimum never updated",
}


def best_checkpoint(
    val_losses: Annotated[Sequence[float], "validation mean after each epoch"] = (
        (0.92, 0.71, 0.60, 0.57, 0.63, 0.70)
    ),
    last_batch_losses: Annotated[
        Sequence[float], "training loss of the last batch of each epoch"
    ] = (0.80, 0.74, 0.41, 0.55, 0.52, 0.33),
) -> Explanation:
    """Keep the best weights: a copy, and by which number.

    Examples:
        >>> best_checkpoint().numbers["epoch_reference"]
        6.0
    """
    same_length(val_losses=val_losses, last_batch_losses=last_batch_losses)
    validation = finite("val_losses", val_losses)
    last_batch = finite("last_batch_losses", last_batch_losses)
    epochs_kept = {
        "copy": _train(validation, validation, by_copy=True, update=True),
        "reference": _train(validation, validation, by_copy=False, update=True),
        "last_batch": _train(validation, last_batch, by_copy=True, update=True),
        "never_updated": _train(validation, validation, by_copy=True, update=False),
    }
    numbers = {f"epoch_{name}": float(epoch) for name, epoch in epochs_kept.items()}
    numbers |= {f"val_{name}": validation[epoch - 1] for name, epoch in epochs_kept.items()}
    right = epochs_kept["copy"]
    return Explanation(
        "best-checkpoint",
        "The best checkpoint: a copy, chosen by the validation mean",
        f"Epoch {right} is the best, with {number(validation[right - 1])}; kept by reference, the "
        f"weights are those of epoch {epochs_kept['reference']}, with "
        f"{number(numbers['val_reference'])}.",
        (
            _picture(validation, last_batch, epochs_kept),
            *_choices(validation, epochs_kept),
            Code(
                "best = model.state_dict()                  # wrong: keeps changing\n"
                "best = copy.deepcopy(model.state_dict())   # right: epoch's own weights"
            ),
            Text(
                "One batch says little of an epoch: its loss is a mean of a few samples, taken "
                "before the last step. The validation mean is over all samples; where two epochs "
                "differ by less than their standard errors, either may be the better one."
            ),
        ),
        numbers,
    )


def _choices(validation: tuple[float, ...], epochs_kept: dict[str, int]) -> tuple[Part, ...]:
    right = epochs_kept["copy"]
    tones: tuple[Tone, ...] = tuple(
        "exact" if validation[epoch - 1] == validation[right - 1] else "wrong"
        for epoch in epochs_kept.values()
    )
    return (
        Bars(
            "validation loss of the weights that are kept",
            tuple(
                Bar(_WORDS[name], validation[epoch - 1], tone, f"{validation[epoch - 1]:g}")
                for (name, epoch), tone in zip(epochs_kept.items(), tones, strict=True)
            ),
        ),
        Table(
            ("what is kept", "epoch", "validation loss"),
            tuple(
                (_WORDS[name], str(epoch), number(validation[epoch - 1]))
                for name, epoch in epochs_kept.items()
            ),
            tones,
        ),
    )


def _train(
    validation: tuple[float, ...], watched: tuple[float, ...], *, by_copy: bool, update: bool
) -> int:
    """Return the epoch whose weights are held at the end.

    The one weight is the epoch's number, and is changed in place as an optimiser does.
    """
    state = {"weight": [0]}
    best, lowest = state, float("inf")
    for epoch in range(1, len(validation) + 1):
        state["weight"][0] = epoch
        if watched[epoch - 1] < lowest:
            best = copy.deepcopy(state) if by_copy else state
            lowest = watched[epoch - 1] if update or epoch == 1 else lowest
    return best["weight"][0]


def _picture(
    validation: tuple[float, ...], last_batch: tuple[float, ...], epochs_kept: dict[str, int]
) -> Curves:
    epochs = tuple(float(epoch) for epoch in range(1, len(validation) + 1))
    right, wrong = epochs_kept["copy"], epochs_kept["reference"]
    marks = [Mark(float(right), validation[right - 1], "kept by copy", "exact")]
    if wrong != right:
        marks.append(Mark(float(wrong), validation[wrong - 1], "kept by reference", "wrong"))
    return Curves(
        "loss after each epoch",
        "epoch",
        "loss",
        (
            Series("validation mean", epochs, validation, tone="plain"),
            Series("last batch", epochs, last_batch, tone="amber"),
        ),
        tuple(marks),
    )

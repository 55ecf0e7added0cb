"""Topic class-weights: the denominator is the sum of the weights of the samples that are there.

    torch's weighted mean    sum_i w[y_i] l_i / sum_i w[y_i]

Each batch divides by its own sum of weights, so averaging batches undoes a part of the weighting:
with one sample per batch the weights cancel altogether.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, counts, finite, same_length
from batchproof.page import Bar, Bars, Code, Formula, Part, Table, Text, number

Sample = tuple[float, float]
_SHOWN = 6


def class_weights(
    weights: Annotated[Sequence[float], "weight of each class"] = (1.0, 5.0),
    targets: Annotated[Sequence[int], "class of each sample, from 0"] = (0, 0, 0, 1, 0, 1, 0, 0),
    losses: Annotated[Sequence[float], "loss of each sample, before weighting"] = (
        (0.2, 0.4, 0.3, 3.0, 0.5, 2.0, 0.1, 0.3)
    ),
    batch_size: Annotated[int, "samples in a batch"] = 3,
) -> Explanation:
    """Weight classes: why weights fade in small batches.

    Examples:
        >>> class_weights().numbers["batch_size_1"]
        0.85
    """
    same_length(targets=targets, losses=losses)
    of_class = finite("weights", weights)
    if min(of_class) < 0 or max(of_class) == 0:
        raise SettingError(
            f"weights are {', '.join(map(number, of_class))}; expected 0 or more, and one above 0. "
            "Correct them."
        )
    classes = counts("targets", targets, least=0)
    if max(classes) >= len(of_class):
        raise SettingError(
            f"targets contains {max(classes)} but weights has {len(of_class)} values; expected "
            "classes from 0. Give a weight for each class."
        )
    samples = [(of_class[y], x) for y, x in zip(classes, finite("losses", losses), strict=True)]
    if math.fsum(w for w, _ in samples) == 0:
        raise SettingError(
            "weights are 0 for every target given; expected one sample that counts. Add one."
        )
    count("batch_size", batch_size)
    sizes = sorted({1, min(batch_size, len(samples)), len(samples)})
    usual = {size: _usual(samples, size) for size in sizes}
    exact = math.fsum(w * x for w, x in samples) / math.fsum(w for w, _ in samples)
    over_n = math.fsum(w * x for w, x in samples) / len(samples)
    here = usual[min(batch_size, len(samples))]
    numbers = {"mean": exact, "averaged_batches": here, "divided_by_samples": over_n}
    numbers |= {"batch_size_1": usual[1]}
    rows = (
        ("Σ w l / Σ w", *([number(exact)] * len(sizes))),
        ("batch means, weighted by batch size", *(number(v) for v in usual.values())),
        ("Σ w l / samples", *([number(over_n)] * len(sizes))),
    )
    columns = ("", *(f"batch size {size}" for size in sizes))
    return Explanation(
        "class-weights",
        "Class weights: whose denominator?",
        f"The weighted mean is {number(exact)}; averaging batches of {batch_size} gives "
        f"{number(here)}, and batches of 1 give {number(usual[1])}, as if there were no weights.",
        (
            Bars("loss", _bars(numbers, batch_size)),
            _shares(samples, batch_size),
            Table(columns, rows, ("exact", "wrong", "amber")),
            *_advice(),
        ),
        numbers,
    )


def _usual(samples: list[Sample], size: int) -> float:
    """Return the average, by batch size, of torch's weighted mean of each batch."""
    return math.fsum(
        share * x for share, (_, x) in zip(_weights(samples, size), samples, strict=True)
    )


def _weights(samples: list[Sample], size: int) -> list[float]:
    """Return the factor of each sample's loss when batches are averaged by their size."""
    shares: list[float] = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        total = math.fsum(w for w, _ in batch)
        shares += [w / total * len(batch) if total else 0.0 for w, _ in batch]
    return [share / len(samples) for share in shares]


def _bars(numbers: dict[str, float], batch_size: int) -> tuple[Bar, ...]:
    return (
        Bar("weighted mean", numbers["mean"], "exact"),
        Bar(f"averaged batches of {batch_size}", numbers["averaged_batches"], "wrong"),
        Bar("averaged batches of 1", numbers["batch_size_1"], "wrong"),
    )


def _shares(samples: list[Sample], batch_size: int) -> Bars:
    total = math.fsum(w for w, _ in samples)
    bars = []
    for index, ((w, _), is_now) in enumerate(
        zip(samples[:_SHOWN], _weights(samples, batch_size)[:_SHOWN], strict=True)
    ):
        bars.append(Bar(f"sample {index + 1}, as meant", w / total, "exact"))
        bars.append(Bar(f"sample {index + 1}, in its batch", is_now, "wrong"))
    return Bars("what each sample's loss counts for", tuple(bars))


def _advice() -> tuple[Part, ...]:
    return (
        Formula("meant  Σ_i w[y_i] l_i / Σ_i w[y_i]   over all samples, not a batch"),
        Text(
            "A rare class counts only in the batches that hold it, and there it is divided by "
            "its own weight. Dividing by the number of samples does not depend on the cut either, "
            "but it is another loss: its size changes with the weights."
        ),
        Code("batchproof.exact(nn.CrossEntropyLoss(weight=weights))   # Σ w is its weight"),
    )

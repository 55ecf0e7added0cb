"""Topic padding: three means that can be meant, and two that depend on the cut.

    element      sum of token losses / number of tokens
    sample       mean over sequences of the mean over a sequence's tokens
    sample-sum   mean over sequences of the sum over a sequence's tokens

What is often computed instead: padding counted (sum / positions of the padded batch), and the mean
over batches of each batch's token mean. Both change with the batch size.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, counts, few, finite, same_length
from batchproof.explain._values import mean as average
from batchproof.page import Bar, Bars, Blocks, Cell, Code, Part, Row, Table, Text, number

Sequences = list[tuple[int, float]]
_TOKENS = 32


def padding(
    lengths: Annotated[Sequence[int], "tokens in each sequence"] = (12, 3, 7, 2),
    losses: Annotated[Sequence[float], "mean loss of a token, in each sequence"] = (
        1.0,
        4.0,
        2.0,
        6.0,
    ),
    batch_size: Annotated[int, "sequences in a batch"] = 2,
    pad_loss: Annotated[float, "loss at a padded position that is counted"] = 0.0,
) -> Explanation:
    """Choose what a mean over padded sequences is a mean of.

    Examples:
        >>> round(padding().numbers["padding_counted"], 4)
        1.3158
    """
    same_length(lengths=lengths, losses=losses)
    sequences = list(zip(counts("lengths", lengths), finite("losses", losses), strict=True))
    count("batch_size", batch_size)
    finite("pad_loss", (pad_loss,))
    sizes = sorted({1, min(batch_size, len(sequences)), len(sequences)})
    with_padding = {size: _counted(sequences, size, pad_loss) for size in sizes}
    of_batches = {size: _of_batches(sequences, size) for size in sizes}
    total = math.fsum(n * m for n, m in sequences)
    numbers = {
        "element": total / sum(n for n, _ in sequences),
        "sample": average([m for _, m in sequences]),
        "sample_sum": total / len(sequences),
        "padding_counted": with_padding[min(batch_size, len(sequences))],
        "mean_of_batch_means": of_batches[min(batch_size, len(sequences))],
    }
    rows = tuple(
        (words, *(number(value) for value in values))
        for words, values in (
            ("unit element", [numbers["element"]] * len(sizes)),
            ("unit sample", [numbers["sample"]] * len(sizes)),
            ("unit sample-sum", [numbers["sample_sum"]] * len(sizes)),
            ("mean of batch means", of_batches.values()),
            ("padding counted", with_padding.values()),
        )
    )
    columns = ("", *(f"batch size {size}" for size in sizes))
    return Explanation(
        "padding",
        "Padding: a mean of what?",
        f"The token mean is {number(numbers['element'])} at every batch size; with padding counted "
        f"it is {number(numbers['padding_counted'])} at batch size {batch_size}, and the mean of "
        f"batch means {number(numbers['mean_of_batch_means'])}.",
        (
            _blocks(sequences, batch_size),
            _bars(numbers, batch_size),
            Table(columns, rows, ("exact", "exact", "exact", "wrong", "wrong")),
            *_advice(),
        ),
        numbers,
    )


def _batches(sequences: Sequences, size: int) -> list[Sequences]:
    return [sequences[start : start + size] for start in range(0, len(sequences), size)]


def _counted(sequences: Sequences, size: int, pad_loss: float) -> float:
    """Return the mean over all positions of padded batches, each batch as long as its longest."""
    total, positions = [], 0
    for batch in _batches(sequences, size):
        longest = max(n for n, _ in batch)
        positions += longest * len(batch)
        total += [n * m + (longest - n) * pad_loss for n, m in batch]
    return math.fsum(total) / positions


def _of_batches(sequences: Sequences, size: int) -> float:
    return average(
        [
            math.fsum(n * m for n, m in batch) / sum(n for n, _ in batch)
            for batch in _batches(sequences, size)
        ]
    )


def _blocks(sequences: Sequences, batch_size: int) -> Blocks:
    longest = max(n for n, _ in sequences)
    scale = min(1.0, _TOKENS / longest)
    rows = []
    for index, batch in enumerate(_batches(sequences, batch_size)):
        width = round(max(n for n, _ in batch) * scale)
        for place, (n, m) in enumerate(batch):
            tokens = max(1, round(n * scale))
            cells = (Cell("plain"),) * tokens + (Cell("muted"),) * (width - tokens)
            label = f"batch {index + 1}, sequence {index * batch_size + place + 1}"
            rows.append(Row(label, cells, f"{n} tokens, mean loss {number(m)}"))
    visible = few(rows, lambda left_out: Row(f"... {left_out} more", ()))
    legend = (("plain", "token"), ("muted", "padding"))
    return Blocks("sequences in their batches", tuple(visible), legend)  # type: ignore[arg-type]


def _bars(numbers: dict[str, float], batch_size: int) -> Bars:
    return Bars(
        f"loss at batch size {batch_size}",
        (
            Bar("unit element", numbers["element"], "exact"),
            Bar("unit sample", numbers["sample"], "exact"),
            Bar("mean of batch means", numbers["mean_of_batch_means"], "wrong"),
            Bar("padding counted", numbers["padding_counted"], "wrong"),
        ),
    )


def _advice() -> tuple[Part, ...]:
    return (
        Text(
            "The three units are different questions, each with one answer. A long sequence counts "
            "for as much as its tokens under element, for as much as a short one under sample. "
            "Say which is meant; then no batch size can change it."
        ),
        Code(
            "losses = F.cross_entropy(logits, target, reduction='none')\n"
            "batchproof.reduce(losses, mask=target != pad, unit='element')"
        ),
    )

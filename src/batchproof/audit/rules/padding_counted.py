"""Padding enters the denominator of a mean."""

from collections.abc import Iterator

from batchproof.audit._dimensions._labels import copied_labels
from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._lengths import padded_frames, padded_targets, unused_lengths
from batchproof.audit._dimensions._padding import (
    averages,
    counts_elsewhere,
    is_shown,
    mask_of_inputs,
    masked_differences,
    of_padding,
    of_targets,
    smoothed_apart,
    without_mask,
)
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_ALL = "Σ_i m_i loss_i / number of elements"
_VALID = "Σ_i m_i loss_i / Σ_i m_i"


def find(trace: Trace) -> Iterator[Report]:
    """Yield means of losses of which some were replaced by 0 under a mask."""
    corrected = {
        e.line
        for e in trace.of("divide")
        if isinstance(e.value, Quantity)
        and e.value.masked
        and isinstance(e.other, Count)
        and e.value.base == "mean"
    }
    for event in trace.of("mean", "divide"):
        loss = event.value
        if not isinstance(loss, Quantity) or not averages(event, loss):
            continue
        if loss.ignores and not loss.masked:
            yield _ignored(event, loss)
        if not loss.masked or event.line in corrected or without_mask(event):
            continue
        counts = of_padding(event, loss.masked) or counts_elsewhere(event, loss.masked)
        sure = counts and loss.sure and not is_shown(event)
        evidence = (
            f"{loss.name or 'the losses'} (line {loss.line}) are set to 0 by {loss.masked}",
            "the mean divides by all elements, those included",
        )
        yield Report(event, _ALL, _VALID, evidence, sure)

    yield from _of_inputs(trace)
    yield from _of_differences(trace)
    if trace.whole and trace.events:
        yield from _labels(trace)


def _of_inputs(trace: Trace) -> Iterator[Report]:
    """Yield means of criteria of which both inputs are 0 under a mask of padding, or are padded."""
    for event in trace.of("criterion"):
        for mean in smoothed_apart(event):
            beside = f"{event.text} (line {event.line}), beside it, leaves ignored targets out"
            evidence = (beside, "this mean is over all targets")
            yield Report(event, _ALL, _VALID, evidence, node=mean)
        if how := padded_targets(event):
            evidence = (
                f"the targets are padded when their batch is made: {how}",
                "the mean is over all of their positions, and ignores none",
            )
            sure = isinstance(event.value, Quantity) and event.value.sure
            yield Report(event, "Σ_i loss_i / number of positions", _VALID, evidence, sure)
        elif shows := unused_lengths(event) or padded_frames(event):
            evidence = (
                f"the targets come with {shows}, so they are padded to the longest",
                "the mean is over all of their positions, and nothing picks those that count",
            )
            yield Report(event, "Σ_i loss_i / number of positions", _VALID, evidence)
        loss = event.value
        mask = mask_of_inputs(event) if isinstance(loss, Quantity) and loss.base == "mean" else ""
        if not (mask and isinstance(loss, Quantity)):
            continue
        evidence = (
            f"both inputs are 0 where {mask} is 0, and so is their {event.text}",
            "the mean divides by all elements, those included",
        )
        yield Report(event, _ALL, _VALID, evidence, loss.sure and of_targets(mask))


def _of_differences(trace: Trace) -> Iterator[Report]:
    """Yield means of differences that are 0 where nothing valid is compared."""
    for node, mask, line in masked_differences(trace.module.tree) if trace.events else ():
        evidence = (
            f"the difference of line {line} is 0 where {mask} is",
            "the mean divides by all elements, those included",
        )
        yield Report(trace.events[0], _ALL, _VALID, evidence, node=node)


def _labels(trace: Trace) -> Iterator[Report]:
    """Yield the places where ids with their padding are the labels of a language model."""
    module = trace.module
    for node, line in copied_labels(module.tree, module.lines):
        evidence = (
            f"line {line} pads the ids, and the labels are the same ids",
            "nothing gives the labels of the padding the value that the loss ignores, -100",
        )
        formula = "Σ_i loss_i / number of tokens, padding included"
        yield Report(trace.events[0], formula, _VALID, evidence, node=node)


def _ignored(event: Event, loss: Quantity) -> Report:
    """Return the report of a mean over elements of which some have an ignored target."""
    evidence = (
        f"{loss.name} (line {loss.line}) is 0 where the target is {loss.ignores}",
        "the mean divides by all elements, those included",
    )
    formula = "Σ_i loss_i / number of targets that are not ignored"
    return Report(event, "Σ_i loss_i / number of elements", formula, evidence, loss.sure)

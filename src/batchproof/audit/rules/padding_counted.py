"""Padding enters the denominator of a mean."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._names import words_of
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report

_PADDING = re.compile(r"pad|valid|bound|attention|length|token|non zero|nonzero|ignore")


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
    for event in trace.of("mean"):
        loss = event.value
        if not isinstance(loss, Quantity) or not loss.masked or loss.base != "elements":
            continue
        node = event.node
        if event.line in corrected or (isinstance(node, ast.Call) and (node.args or node.keywords)):
            continue
        sure = bool(_PADDING.search(words_of(loss.masked))) and loss.sure
        evidence = (
            f"{loss.name or 'the losses'} (line {loss.line}) are 0 where {loss.masked} is 0",
            "the mean divides by all elements, those included",
        )
        yield Report(
            event, "Σ_i m_i loss_i / number of elements", "Σ_i m_i loss_i / Σ_i m_i", evidence, sure
        )

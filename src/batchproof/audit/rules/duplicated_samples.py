"""Some samples enter twice, such as those that a sampler repeats to fill its ranks."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._questions import evaluates
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_SUMMED = {"sum", "all_gather", "gather", "all_reduce"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield sums over all ranks that are divided by the length of the data set."""
    for event in trace.of("divide"):
        total, by = event.value, event.other
        if not isinstance(total, Quantity) or not isinstance(by, Count):
            continue
        loop = trace.loops.get(total.over)
        if (
            total.ranks not in _SUMMED
            or loop is None
            or total.base != "sum"
            or not evaluates(trace, loop)
        ):
            continue
        loader = loop.loader
        sampler = loader.sampler if loader is not None else None
        if sampler is not None and sampler.kind != "ranks":
            continue
        prepared = loader is not None and loader.per_rank
        if loader is not None and prepared and loader.drop_last:
            continue
        who = "a prepared loader" if prepared else "a DistributedSampler"
        if by.unit == "seen" and (prepared or (sampler is not None and not sampler.drop_last)):
            yield _counted_twice(event, by, who)
        if by.unit != "data set":
            continue
        evidence = (
            "the sum runs over the shares of all ranks",
            f"{who} repeats samples until every rank holds as many",
            f"{by.text} counts each sample once",
        )
        yield Report(event, "(Σ_i loss_i + Σ of the repeated) / N", "Σ_i loss_i / N", evidence)


def _counted_twice(event: Event, by: Count, who: str) -> Report:
    """Return the report of a mean that counts the repeated samples, in its divisor too."""
    evidence = (
        "the sum runs over the shares of all ranks",
        f"{who} repeats samples until every rank holds as many",
        f"{by.text or 'the divisor'} counts the repeated ones, if ranks do not divide the data set",
    )
    computes = "(Σ_i loss_i + Σ of the repeated) / (N + repeated)"
    return Report(event, computes, "Σ_i loss_i / N", evidence, sure=False)

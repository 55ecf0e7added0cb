"""Some samples enter twice, such as those that a sampler repeats to fill its ranks."""

from collections.abc import Iterator

from batchproof.audit._dimensions._lattice import Count, Quantity
from batchproof.audit._dimensions._questions import evaluates
from batchproof.audit._dimensions._shares import cuts, of_samples, repeats_held_out
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_SUMMED = {"sum", "all_gather", "gather", "all_reduce"}


def find(trace: Trace) -> Iterator[Report]:
    """Yield means, and what is gathered for a score, over samples of which some are repeated."""
    loops = set[str]()
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
            loops.add(loop.key)
            yield _counted_twice(event, total, by, who)
        if by.unit != "data set":
            continue
        loops.add(loop.key)
        evidence = (
            "the sum runs over the shares of all ranks",
            f"{who} repeats samples until every rank holds as many",
            f"{by.text} counts each sample once",
        )
        yield Report(event, "(Σ_i loss_i + Σ of the repeated) / N", "Σ_i loss_i / N", evidence)
    yield from _gathered(trace, loops)
    yield from _sampled(trace, loops)


def _sampled(trace: Trace, loops: set[str]) -> Iterator[Report]:
    """Yield samplers of held-out data that repeat samples, where no mean over them was reported."""
    lines = {
        loader.sampler.line
        for key in loops
        if (loader := trace.loops[key].loader) and loader.sampler
    }
    for event in trace.of("sampler"):
        if event.line in lines or not repeats_held_out(trace, event):
            continue
        evidence = (
            "a DistributedSampler repeats samples until every rank holds as many",
            "the data it draws from is held out, and each of its samples should count once",
        )
        yield Report(event, "f(samples and the repeated ones)", "f(samples)", evidence)


def _gathered(trace: Trace, loops: set[str]) -> Iterator[Report]:
    """Yield outputs that accelerate gathers in an evaluation, the repeated ones with them.

    Args:
        trace: the events.
        loops: the keys of loops of which a sum was reported.
    """
    for event in trace.of("reduce"):
        loop = event.batches
        if event.text != "gather" or loop is None or loop.loader is None or loop.key in loops:
            continue
        shares = loop.loader.per_rank and not loop.loader.drop_last
        if not shares or not evaluates(trace, loop) or not of_samples(event, loop):
            continue
        if cuts(event) or any("even_batches" in line for line in event.module.lines):
            continue
        loops.add(loop.key)
        evidence = (
            "accelerator.gather returns what every rank computed",
            "a prepared loader repeats samples until every rank holds as many",
            "nothing cuts the repeated ones off, as gather_for_metrics would",
        )
        yield Report(event, "f(samples and the repeated ones)", "f(samples)", evidence)


def _counted_twice(event: Event, total: Quantity, by: Count, who: str) -> Report:
    """Return the report of a mean that counts the repeated samples, in its divisor too."""
    evidence = (
        "the sum runs over the shares of all ranks",
        f"{who} repeats samples until every rank holds as many",
        f"{by.text or 'the divisor'} counts the repeated ones, if ranks do not divide the data set",
    )
    computes = "(Σ_i loss_i + Σ of the repeated) / (N + repeated)"
    return Report(event, computes, "Σ_i loss_i / N", evidence, sure=total.ranks == "gather")

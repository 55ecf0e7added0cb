"""A sum is divided by a count that does not belong to it."""

from collections.abc import Iterator

from batchproof.audit._dimensions._counters import miscount, product_in, report_clash
from batchproof.audit._dimensions._divergences import BATCH_MEAN, divergence_clash
from batchproof.audit._dimensions._lattice import Constant, Count, Loader, Quantity
from batchproof.audit._dimensions._loaders import number
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import of_other_data, views_by_size, within
from batchproof.audit._dimensions._sizes import counts_samples, meter_clash, size_clash, size_next
from batchproof.audit._dimensions._trace import Event, Loop, Trace
from batchproof.audit._reports import Report

_SAMPLES = "Σ_b Σ_i loss_i / number of samples"


def find(trace: Trace) -> Iterator[Report]:
    """Yield the places where a sum over batches is divided by the count of something else."""
    for event in trace.of("divide", "average"):
        total, by = event.value, event.other
        if isinstance(by, Count) and (by.unit, by.plus) == ("seen", 1):
            yield from _seeded(trace, event)
        if isinstance(total, Quantity) and isinstance(by, Count) and total.divisor is None:
            loop = trace.loops.get(total.over)
            if loop is not None and not size_next(trace, event):
                yield from _of_loop(event, total, by, loop)
    for event in trace.of("report"):
        if wrong := report_clash(trace, event):
            yield Report(event, *wrong[:2], wrong[2:], node=product_in(event))
    yield from _of_one_batch(trace)


def _of_one_batch(trace: Trace) -> Iterator[Report]:
    """Yield the meters and the divergences that divide what one batch gives by another count."""
    for event in trace.of("update"):
        if wrong := meter_clash(event):
            yield Report(event, wrong[0], _SAMPLES, wrong[1:2], wrong[2])
    for event in trace.of("criterion"):
        if formulas := divergence_clash(event):
            yield Report(event, *formulas, remedy=BATCH_MEAN)


def _seeded(trace: Trace, event: Event) -> Iterator[Report]:
    """Yield a counter of samples that begins with 1."""
    name = dotted(getattr(event.node, "right", getattr(event.node, "value", event.node)))
    starts = [e for e in trace.of("assign") if e.text == name and e.value == Constant(1)]
    evidence = (f"{name or 'the counter'} begins with 1, and ends with one sample too many",)
    yield Report([event, *starts][-1], "Σ_i loss_i / (N + 1)", "Σ_i loss_i / N", evidence)


def _of_loop(event: Event, total: Quantity, by: Count, loop: Loop) -> Iterator[Report]:
    clash = miscount(event, total, by, loop)
    if clash is not None:
        yield Report(event, *clash[:2], clash[2:])
    elif loop.loader is not None:
        yield from _clash(event, total, by, loop, loop.loader)


def _clash(
    event: Event, total: Quantity, by: Count, loop: Loop, loader: Loader
) -> Iterator[Report]:
    of_batches = by.unit == "batches"
    mine = by.key in {loop.key, loader.key, loader.source}
    if of_batches and mine and total.base == "sum" and not total.scales:
        yield from _sum_by_batches(event, total, loader)
    elif by.unit == "nominal" and total.base == "mean" and loader.line and loop not in event.loops:
        evidence = (f"{by.text} is the size of a batch, and the sum holds one mean for each batch",)
        yield Report(event, "Σ_b mean_b / B", "Σ_b n_b · mean_b / Σ_b n_b", evidence, total.sure)
    elif mine and loop not in event.loops and (clash := size_clash(total, by, loader)):
        if views_by_size(loop) or loop.leaves:
            return
        certain = total.sure and loader.line > 0 and not (total.conditional or by.conditional)
        formula = _SAMPLES if total.base == "sum" else "Σ_b n_b · mean_b / Σ_b n_b"
        yield Report(event, clash[0], formula, clash[1], certain)
    elif total.base == "either" and ((of_batches and mine) or counts_samples(by, loop, loader)):
        yield from _right_for_one(event, total, by, loader)
    elif total.base == "mean" and total.loop == loop.key and not total.scales:
        yield from _mean_by_samples(event, total, by, loop, loader)
    if not mine:
        yield from _other_loader(event, by, loader)


def _sum_by_batches(event: Event, total: Quantity, loader: Loader) -> Iterator[Report]:
    if number(loader.batch_size) == 1 or total.conditional or (total.metric and total.unit):
        return
    how = "is weighted by the size of its batch" if total.unit else "is a sum over its batch"
    evidence = (f"{total.name or 'each term'} (line {total.line}) {how}, and batches are counted",)
    sure = total.sure or (total.unit == "sample" and not total.spans)  # whatever the loss is
    yield Report(event, "Σ_b Σ_i loss_i / number of batches", _SAMPLES, evidence, sure)


def _mean_by_samples(
    event: Event, total: Quantity, by: Count, loop: Loop, loader: Loader
) -> Iterator[Report]:
    apart = by.conditional and not total.conditional
    if not counts_samples(by, loop, loader) or number(loader.batch_size) == 1 or apart or by.plus:
        return
    what = f"{total.name or 'each term'} (line {total.line}) is a mean over one batch"
    evidence = (what, "the quotient is too small by the batch size")
    computes = "Σ_b mean_b / number of samples"
    yield Report(event, computes, _SAMPLES, evidence, total.sure, node=within(event, loop))


def _right_for_one(event: Event, total: Quantity, by: Count, loader: Loader) -> Iterator[Report]:
    others = any("accum" not in scale for scale in total.scales)
    if others or total.conditional or by.conditional or number(loader.batch_size) == 1:
        return
    evidence = (f"{total.name or 'each term'} is a mean or a sum over its batch, by a test before",)
    formulas = f"Σ_b (mean_b or Σ_i loss_i) / {by.text or 'one count'}", "each by its own count"
    yield Report(event, *formulas, evidence, total.sure)


def _other_loader(event: Event, by: Count, loader: Loader) -> Iterator[Report]:
    other = of_other_data(loader.text, by.text.removeprefix("len(").removesuffix(")"))
    if by.unit in {"batches", "data set"} and other:
        evidence = (f"the loop goes over {loader.text}", f"the divisor is {by.text}")
        formulas = f"Σ over {loader.text} / {by.text}", f"Σ over {loader.text} / its own count"
        yield Report(event, *formulas, evidence)

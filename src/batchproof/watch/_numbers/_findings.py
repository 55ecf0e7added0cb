"""Findings about numbers: one for each place and mistake, with the numbers that prove it."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from batchproof.mistakes import mistake
from batchproof.watch._events import Finding, Grade
from batchproof.watch._loaders import LoaderPass
from batchproof.watch._numbers._identify import Reading
from batchproof.watch._numbers._series import Series

MOST_EXAMPLES = 8
ANOTHER = "gradient-of-another-loss"
_NAMES = {"one-batch": "last-batch-reported"}


def findings_of(readings: Iterable[Reading]) -> list[Finding]:
    """Return the mistakes and notes that readings show; one finding for each place and name.

    Args:
        readings: of all slots.
    """
    findings: dict[tuple[str, ...], Finding] = {}
    for reading in readings:
        if reading.grade == "right":
            continue
        one = _finding(reading)
        key = (one.name, one.grade, one.place)
        before = findings.get(key)
        if before is None:
            findings[key] = one
        else:
            numbers = [*before.evidence["numbers"], *one.evidence["numbers"]]
            findings[key] = replace(before, evidence={**before.evidence, "numbers": numbers})
    return list(findings.values())


def _finding(reading: Reading) -> Finding:
    name = _NAMES.get(reading.candidate.name, reading.candidate.name)
    series = reading.candidate.series
    remedy = mistake(name).remedy_for(evaluation=not series.training)
    return Finding(
        name=name,
        grade="note" if reading.grade == "note" else "wrong",
        # the term that is cut off, not the line that shows it
        place=series.site if name == ANOTHER else reading.slot.place,
        sentence=_sentence(reading),
        remedy=remedy.code or remedy.sentence,
        evidence={"loss": series.site, "numbers": [evidence_of(reading)]},
    )


def _sentence(reading: Reading) -> str:
    slot, candidate = reading.slot, reading.candidate
    example = _telling(reading)
    text = slot.lines[example].number.text
    lines = "line" if slot.count == 1 else "lines"
    what = f"{_quoted(slot.label)}{text} ({slot.count} {lines}) is {candidate.phrase}"
    of = f"of the {_of(candidate.series)} at {candidate.series.site}"
    if candidate.name == "one-batch":
        return f"{what}, {of}: not the mean of a pass."
    if candidate.name == ANOTHER:
        without = f"{reading.mean[example]:.{_digits(text)}g}"
        return f"{what}, which is in no optimiser step; the objective alone is {without}."
    if candidate.name == "rank-local-reported":
        return f"{what}, {of}; the other ranks hold other samples."
    mean = f"{reading.mean[example]:.{_digits(text)}g}"
    whole = "of all counts it is" if candidate.series.quantity == "ratio" else "the mean is"
    return f"{what}, {of}; {whole} {mean}."


def _of(series: Series) -> str:
    return {"accuracy": "hits", "ratio": "counts"}.get(series.quantity, "loss")


def _quoted(label: str) -> str:
    words = label.strip()
    return f"`{words}` " if words else ""


def _digits(text: str) -> int:
    return max(4, min(8, sum(c.isdigit() for c in text.lower().partition("e")[0].lstrip("0."))))


def _telling(reading: Reading) -> int:
    """Return the line whose number is furthest from the mean."""
    away = [
        abs(line.number.value - mean) / line.number.tolerance
        for line, mean in zip(reading.slot.lines, reading.mean.tolist(), strict=False)
    ]
    return max(range(len(away)), key=away.__getitem__)


def evidence_of(reading: Reading) -> dict[str, Any]:
    """Return a reading as plain values.

    Args:
        reading: of a slot.
    """
    slot, candidate = reading.slot, reading.candidate
    has_mean = candidate.name != "rank-local-reported"
    rows = zip(slot.lines, candidate.values.tolist(), reading.mean.tolist(), strict=False)
    return {
        "place": slot.place,
        "source": slot.source,
        "label": slot.label,
        "lines": slot.count,
        "is": candidate.phrase,
        "grade": reading.grade,
        "of": "objective" if candidate.name == ANOTHER else _of(candidate.series),
        "loss": candidate.series.site,
        "examples": [
            {
                "text": line.text,
                "shown": line.number.text,
                "is": value,
                "mean": mean if has_mean else None,
            }
            for line, value, mean in list(rows)[:MOST_EXAMPLES]
        ],
    }


def findings_of_loaders(series: Sequence[Series], readings: Iterable[Reading]) -> list[Finding]:
    """Return the samples that evaluations leave out or take twice, as their loaders say.

    Samples that are taken twice are a note, unless a number was shown that counts them twice: a
    script may cut them off.

    Args:
        series: the batches of every loss.
        readings: of the numbers that were shown.
    """
    sites = {reading.candidate.series.site for reading in readings}
    findings: dict[tuple[str, str], Finding] = {}
    for one in series:
        if one.training or one.quantity != "loss":
            continue
        passes = [one.passes[n] for n in dict.fromkeys(one.of_pass.tolist()) if n >= 0]
        of_each = [_of_loader(one.site, loader, sites) for loader in passes]
        for finding in (*of_each, _of_first_batches(one.site, passes)):
            if finding is not None:
                findings.setdefault((finding.name, finding.place), finding)
    return list(findings.values())


def _of_loader(site: str, loader: LoaderPass, sites: Container[str]) -> Finding | None:
    size, samples = loader.batch_size or 0, loader.samples or 0
    rest = samples - loader.batches_read * size
    if loader.whole and loader.drop_last and size and rest > 0:
        return _loader_finding(
            "samples-left-out",
            site,
            f"The evaluation reads {samples - rest} of {samples} samples: its "
            f"loader drops the last batch, of {rest}.",
            {"samples": samples, "left_out": rest},
        )
    if loader.copies and loader.whole:
        is_counted = site in sites
        return _loader_finding(
            "duplicated-samples",
            site,
            f"The evaluation reads {loader.copies} of {loader.dataset} samples twice: "
            f"its sampler repeats them {_reason(loader)}"
            + ("." if is_counted else ", and a number over all that it reads counts them twice."),
            {"samples": loader.dataset, "copies": loader.copies},
            grade="wrong" if is_counted else "note",
        )
    return None


def _of_first_batches(site: str, passes: Sequence[LoaderPass]) -> Finding | None:
    """Return a note where every pass stops after as many batches, and there are more."""
    reads = {loader.batches_read for loader in passes}
    if len(passes) < 2 or len(reads) > 1 or any(loader.whole for loader in passes):
        return None
    read, batches = reads.pop(), min(loader.batches or 0 for loader in passes)
    if not read < batches:
        return None
    return _loader_finding(
        "samples-left-out",
        site,
        f"The evaluation stops after {read} of {batches} batches of its loader, in each of "
        f"{len(passes)} passes.",
        {"read": read, "batches": batches},
        grade="note",
    )


def _reason(loader: LoaderPass) -> str:
    total = (loader.samples or 0) * loader.ranks
    over_ranks = loader.ranks > 1 or (loader.dataset or 0) > total
    return "so that every rank holds as many" if over_ranks else "to fill the last batch"


def _loader_finding(
    name: str, site: str, sentence: str, evidence: dict[str, Any], grade: Grade = "wrong"
) -> Finding:
    remedy = mistake(name).remedy_for(evaluation=True)
    return Finding(name, grade, site, sentence, remedy.code or remedy.sentence, evidence)

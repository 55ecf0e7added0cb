"""Sentences about what was seen to be right, and about what was not followed."""

from collections.abc import Iterable, Sequence

from batchproof.watch._across import Ranks
from batchproof.watch._calls import Calls
from batchproof.watch._events import Finding
from batchproof.watch._patterns import FINE, Pattern, patterns_of
from batchproof.watch._updates import Updates
from batchproof.watch._windows import Part, Window, windows_of

# nothing that enters such a step is right, whatever its shares
OF_STEPS = ("gradients-not-zeroed", "zeroed-before-step", "one-micro-batch-only")


def right_of(updates: Updates, findings: Sequence[Finding]) -> list[str]:
    """Return a sentence for each term whose elements count as they do in a mean or a sum."""
    places = {finding.place for finding in findings}
    steps = {finding.place for finding in findings if finding.name in OF_STEPS}
    sentences: list[str] = []
    for ledger in updates.ledgers:
        if any(record.site in steps for record in ledger.records[-1:]):
            continue
        sentences += [
            f"{pattern.site}: {text}"
            for pattern in patterns_of(ledger, windows_of(ledger))
            if pattern.site not in places and (text := _said(pattern)) is not None
        ]
    return list(dict.fromkeys(sentences))


def _said(pattern: Pattern) -> str | None:
    count = len(pattern.windows)
    steps = f"in the only step of {pattern.ledger.name}"
    if count > 1:
        steps = f"in each of {count} steps of {pattern.ledger.name}"
    parts, sums = pattern.parts, pattern.sums()
    if all(part.alike for part in parts) and pattern.same_in_each(lambda part: part.share):
        if pattern.same((*sums, 1.0)):
            weights = [sum(part.weight for part in window) for window in pattern.windows]
            return f"the mean over elements, {_each(weights)}, {steps}."
        if pattern.same(sums):
            return f"the mean over elements times {sums[0]:.6g}, {steps}."
        if pattern.same(part.share for part in parts):
            return f"a sum, each element counts {parts[0].share:.6g}, {steps}."
        low, high = min(sums), max(sums)
        return f"the mean over elements times a factor of {low:.4g} to {high:.4g}, {steps}."
    by_sample = [part.alike_by_sample for part in parts]
    same = pattern.same_in_each(lambda part: part.mass / max(part.loss.samples, 1))
    if all(by_sample) and same and pattern.same((*sums, 1.0)):
        samples = [sum(part.loss.samples for part in window) for window in pattern.windows]
        return f"the mean over samples, {_each(samples)}, {steps}."
    return None


def _each(weights: Sequence[float]) -> str:
    """Return what each element of a window counts, where windows have these weights."""
    low, high = min(weights), max(weights)
    if low == high:
        return f"each of {low:,.6g} counts 1/{low:.6g}"
    return f"each of {low:,.6g} to {high:,.6g} counts alike"


def missed_by(calls: Calls, updates: Updates, ranks: Ranks, troubles: Iterable[str]) -> list[str]:
    """Return a sentence for all that was not followed."""
    sites = {loss.site for loss in calls.losses if loss.arrived}
    sentences = []
    if updates.unfollowed:
        whole = len(sites) + len(updates.unfollowed)
        places = ", ".join(sorted(updates.unfollowed)[:5])
        sentences.append(
            f"{len(sites)} of {whole} losses were followed. No known loss took part in the "
            f"backward pass of {places}: mark it with batchproof.watch_loss; what torch.compile "
            "compiled and what an autograd function of its own computes is not seen."
        )
    if ranks.missing:
        sentences.append(
            f"{ranks.missing} of the other ranks left nothing with rank 0, so its own shares and "
            "numbers are judged alone."
        )
    if calls.transformed:
        places = ", ".join(sorted(calls.transformed)[:5])
        sentences.append(
            f"What torch.func computes is not followed: the losses of {places} are inside grad, "
            "vmap or another of its transforms."
        )
    for ledger in updates.ledgers:
        empty = sum(not (w.parts or w.stale or w.discards) for w in windows_of(ledger))
        if empty and not updates.unfollowed:
            sentences.append(
                f"In {empty} of {ledger.steps} steps of {ledger.name} no loss was followed: the "
                "gradients came from elsewhere than a backward pass."
            )
        changes = sum(window.is_changed for window in windows_of(ledger))
        if changes:
            sentences.append(
                f"In {changes} of {ledger.steps} steps of {ledger.name} the gradients were changed "
                "otherwise than by a factor; they are not judged."
            )
        odd = {
            part.loss.site
            for window in windows_of(ledger)
            for part in window.parts
            if not part.alike and not part.alike_by_sample
        }
        if odd:
            sentences.append(
                f"Elements of one micro-batch count differently at {', '.join(sorted(odd)[:5])}, "
                "as weights or advantages make them: which mean that is was not judged."
            )
        # micro-batches of other ranks do not say which batch they are
        unclear = sorted(set(_added_at_once(windows_of(ledger)))) if ledger.world == 1 else []
        if unclear:
            sentences.append(
                f"Several losses of {', '.join(unclear[:5])} are added in one backward pass, and "
                "no loader says whether they are micro-batches, whose mean is meant, or terms, "
                "whose sum is."
            )
    if calls.forgotten:
        sentences.append(f"The first {calls.forgotten:,} losses were forgotten.")
    sentences += [f"Not watched: {line}" for line in troubles]
    return list(dict.fromkeys(sentences))


def _added_at_once(windows: Iterable[Window]) -> Iterable[str]:
    """Return the places of losses added in one pass whose masses do not add up to 1."""
    for window in windows:
        groups: dict[tuple[int, int, int], list[Part]] = {}
        for part in window.parts:
            if part.loss.batch[0] < 0:
                key = part.loss.term, part.backward, part.term[2]
                groups.setdefault(key, []).append(part)
        for parts in groups.values():
            total = sum(part.mass for part in parts)
            if len(parts) > 1 and abs(total - 1) > FINE:
                yield parts[0].loss.site

"""Where numbers are shown, and every number shown there: one line of code, one format, one place.

The lines that one print writes differ in their numbers alone. What is said of a number is said of
all that were shown in the same slot, so a chance agreement of one of them says nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from batchproof.watch._numbers._shown import Shown, is_whole, numbers_in, plain

MOST_SLOTS = 2000
MOST_LINES = 256  # of a slot: the first half, and the latest half
# how numbers leave an evaluation that nobody sees
UNSEEN = ("returned", "ReduceLROnPlateau.step")
LONGEST = 4000  # letters of a line that are read

# the words beside numbers that are not means of losses
_OTHER = re.compile(
    r"(?:^|[^a-z])(?:lr|learning.?rate|epochs?|steps?|iter(?:ation)?s?|it/s|seeds?|time|secs?|"
    r"seconds?|ms|min(?:ute)?s?|hours?|eta|elapsed|took|duration|speed|throughput|samples?/s|"
    r"tok(?:ens)?/s|grad|norm|gnorm|mem(?:ory)?|[mg]i?b|params?|parameters|momentum|decay|wd|"
    r"temperature|dropout|alpha|beta\d?|gamma|version|width|size|runtime|per.second|flos|"
    r"train_runtime|mfu|device|port|batch(?:es)?|workers?|threads?|target|threshold|std|var)$"
)
_LOSS = re.compile(r"loss|acc|mse|nll|ppl|perplex|entropy|error|\bmae\b")
_UNITS = re.compile(r"^ ?(?:s|sec|secs|seconds|ms|us|min|m|h|it/s|s/it|[kMG]i?B|MB/s|x)\b")
_PASS = re.compile(
    r"(?<![a-z])(?:epochs?|pass|avg|average|mean|train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?|"
    r"eval(?:uation)?)(?![a-z])",
    re.IGNORECASE,
)
_BATCH = re.compile(r"\b(?:last|batch|step|iter|iteration|update)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a slot.

    Attributes:
        stamp: when, on the clock of the events.
        number: the number.
        text: the line that it was in.
    """

    stamp: int
    number: Shown
    text: str


@dataclass(slots=True)
class Slot:
    """Every number that one place of one format showed.

    Attributes:
        place: "file:line" of the user's code that wrote it.
        source: how it reached a person: "stdout", "logging", "add_scalar" ...
        label: its name, or the words before it.
        lines: the numbers, at most MOST_LINES of them.
        count: how many there were.
    """

    place: str
    source: str
    label: str
    lines: list[Line] = field(default_factory=list)
    count: int = 0

    def add(self, line: Line) -> None:
        """Add a number; of many, those in the middle are forgotten."""
        self.count += 1
        self.lines.append(line)
        if len(self.lines) > MOST_LINES:
            del self.lines[MOST_LINES // 2]

    @property
    def is_shown(self) -> bool:
        """Return whether a person saw the numbers; others are used by the script alone."""
        return self.source not in UNSEEN

    @property
    def of_passes(self) -> bool:
        """Return whether its lines are of whole passes: of epochs, averages, train, val or test."""
        text = self.lines[0].text if self.lines else ""
        return bool(_PASS.search(text)) and not _BATCH.search(self.label)


def is_other(label: str, after: str) -> bool:
    """Return whether the words around a number say that it is not a mean of losses.

    Args:
        label: the words before it.
        after: what follows it.

    Examples:
        >>> is_other("lr", ""), is_other("train loss", ""), is_other("took", " s")
        (True, False, True)
        >>> is_other("train_loss_epoch", ""), is_other("loss epoch", "")
        (False, True)
    """
    words = label.lower().strip(" :=([")
    last = words.rpartition(" ")[2]
    other = _OTHER.search(words) and not _LOSS.search(last)
    return bool(other or _UNITS.match(after))


class Slots:
    """The numbers seen so far, by slot; bounded whatever a script prints."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, ...], Slot] = {}
        self.left_out = 0

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._slots.values()))

    def add_line(self, text: str, stamp: int, place: str, source: str) -> None:
        """Add the numbers of a line of text.

        Args:
            text: the line.
            stamp: when it was written.
            place: the user's line of code that wrote it.
            source: how it reached a person.
        """
        line = plain(text[:LONGEST])
        numbers = list(numbers_in(line))
        form = _form(line, [span for _, span in numbers])
        for ordinal, (number, (_, end)) in enumerate(numbers):
            if is_whole(number) or is_other(number.label, line[end:]):
                continue
            key = (place, source, form, str(ordinal))
            self._add(key, number.label, Line(stamp, number, line.strip()[:200]))

    def add_value(self, number: Shown, stamp: int, place: str, source: str) -> None:
        """Add a number that was handed over by its name.

        Args:
            number: the number.
            stamp: when it was handed over.
            place: the user's line of code that did so.
            source: how it reaches a person.
        """
        if is_other(number.label, "") or number.value == int(number.value or 0):
            return
        line = Line(stamp, number, f"{number.label} {number.text}")
        self._add((place, source, number.label), number.label, line)

    def _add(self, key: tuple[str, ...], label: str, line: Line) -> None:
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= MOST_SLOTS:
                self.left_out += 1
                return
            slot = self._slots[key] = Slot(key[0], key[1], label)
        slot.add(line)


def _form(line: str, spans: list[tuple[int, int]]) -> str:
    parts, start = [], 0
    for left, right in spans:
        parts.append(line[start:left])
        start = right
    parts.append(line[start:])
    return " ".join("#".join(parts).split())

"""Rules: the share with which each micro-batch of a window enters, as a quotient of counts.

    G = sum_j s_j m(B_j)            s_j = [j enters] part_j / (whole * again)

    enters   all micro-batches, the last or the first
    part     1, or what the micro-batch holds: its weight W_j, its samples n_j, another count
    whole    the parts of those that enter, added up; or 1
    again    1, or the number k of micro-batches

so s_j = W_j / W is exact, 1 / k the mean of k micro-batch means, and 1 is never divided. Over R
ranks the wrapper averages, so each rule within a rank meets one across ranks. Which samples enter
otherwise, and how often, is not listed but measured: see _entered.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from batchproof.check._measure._cuts import Cut, MicroBatch

Weigh = Callable[[MicroBatch], float]


@dataclass(frozen=True)
class Count:
    """Something counted in a micro-batch.

    Attributes:
        label: what is counted, in words.
        of: the number of it in a micro-batch; None for the weight that its mean divides by.
    """

    label: str
    of: Weigh | None = field(default=None, compare=False, repr=False)


def _one(_: MicroBatch) -> float:
    return 1.0


def _samples(piece: MicroBatch) -> float:
    return float(len(piece.samples))


WEIGHT, ONE, SAMPLES = Count("weight"), Count("1", _one), Count("samples", _samples)
PADDED = "elements, padding counted"


@dataclass(frozen=True)
class Rule:
    """The rule by which a window joins its micro-batches.

    Attributes:
        part: the numerator of a share.
        whole: what its denominator adds up: "entering", or "" for 1.
        enters: "all", "last" or "first": which micro-batches enter.
        again: whether it is divided by the number of micro-batches once more.
        across: the rule across ranks: "mean", "sum", "pooled" (by weight), "own" (rank 0's), or
            "part" (what rank 0 adds to the pooled one).
        factor: "", "/R" or "*R": the whole divided by or times the number of ranks.
    """

    part: Count = WEIGHT
    whole: str = "entering"
    enters: str = "all"
    again: bool = False
    across: str = "pooled"
    factor: str = ""

    @property
    def pools(self) -> bool:
        """Return whether it is right within a rank."""
        return self.within == EXACT

    @property
    def within(self) -> "Rule":
        """Return the rule within a rank."""
        return replace(self, across="pooled", factor="")

    @property
    def mistake(self) -> tuple[object, ...]:
        """Return a key that is equal for rules that make the same mistake."""
        mean = "padded" if self.part.label == PADDED else self.part != WEIGHT
        return self.enters, self.again, mean, self.whole == "", self.across, self.factor

    def over(self, across: str, factor: str = "") -> "Rule":
        """Return the rule with another one across ranks."""
        return replace(self, across=across, factor=factor)

    def __str__(self) -> str:
        """Return the rule within a rank in words, as what is done to a term or a gradient."""
        if self.enters == "all":
            how = {
                ("weight", "entering"): "divided by the weight of all micro-batches",
                ("1", "entering"): "averaged over micro-batches",
                ("samples", "entering"): (
                    "averaged over micro-batches by their numbers of samples"
                ),
                ("1", ""): "summed over micro-batches",
            }.get((self.part.label, self.whole))
            how = how or f"averaged over micro-batches by their {self.part.label}"
        else:
            how = f"taken from the {self.enters} micro-batch alone"
        return f"{how}, and divided once more by their number" if self.again else how


EXACT = Rule()
MEAN, BY_SAMPLES, SUM = Rule(ONE), Rule(SAMPLES), Rule(ONE, "")
LAST, FIRST = Rule(ONE, "", "last"), Rule(ONE, "", "first")
ACROSS = (
    *(("pooled", ""), ("mean", ""), ("pooled", "/R"), ("pooled", "*R"), ("sum", ""), ("own", "")),
    *(("samples", ""), ("own", "/R"), ("part", "")),
)


def rules(counts: Sequence[Count] = ()) -> Iterator[Rule]:
    """Yield every rule within a rank, the commoner first.

    Args:
        counts: further numerators.
    """
    yield from (EXACT, MEAN, BY_SAMPLES, SUM, LAST, FIRST)
    yield from (Rule(part, again=True) for part in (WEIGHT, ONE, SAMPLES))
    yield from (Rule(part) for part in counts)


def scales(rule: Rule, cut: Cut, weigh: Weigh) -> list[float]:
    """Return s_j for every micro-batch of the cut, ranks in order.

    Args:
        rule: the rule.
        cut: the cut.
        weigh: the weight of a micro-batch.
    """
    world = len(cut.ranks)
    pool = rule.part.of if rule.part.label == PADDED and rule.part.of else weigh
    total, number = sum(map(pool, cut.pieces), 0.0), sum(map(_samples, cut.pieces), 0.0)
    result = []
    for rank, pieces in enumerate(cut.ranks):
        own = over(sum(map(pool, pieces), 0.0), total)
        share = {
            "mean": 1 / world,
            "sum": 1.0,
            "pooled": own,
            "samples": over(sum(map(_samples, pieces), 0.0), number),
            "own": float(rank == 0),
            "part": own * (rank == 0),
        }[rule.across]
        factor = {"": 1.0, "/R": 1 / world, "*R": float(world)}[rule.factor]
        result += [within * share * factor for within in _within(rule, pieces, weigh)]
    return result


def _within(rule: Rule, pieces: Sequence[MicroBatch], weigh: Weigh) -> list[float]:
    last = len(pieces) - 1
    enters = [
        {"last": at == last, "first": at == 0}.get(rule.enters, True) for at in range(last + 1)
    ]
    parts = [(rule.part.of or weigh)(p) * one for p, one in zip(pieces, enters, strict=True)]
    whole = sum(parts) if rule.whole else 1.0
    return [over(part, whole * (len(pieces) if rule.again else 1)) for part in parts]


def over(part: float, total: float) -> float:
    """Return a quotient; 0 where nothing is counted."""
    return part / total if total else 0.0

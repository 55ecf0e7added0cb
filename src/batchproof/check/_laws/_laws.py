"""The algebra of cuts: what each mistake predicts, as a matrix on gradients of single samples.

A law has two parts. What one micro-batch B gives, from the gradients m_i of its samples alone:

    ratio      m(B) = sum_i w_i m_i / sum_i w_i       a mean, whose weights were measured
    clamped    the same, with max(1, sum) below        where single samples may weigh nothing
    raised     the same, with a constant c below      m(B) = sum_i (w_i + c) m_i / (sum_i w_i + c)
    sum        m(B) = sum_i m_i                       not a mean
    divided    m(B) = that mean / |B|                 means summed, over the number of samples
    times      m(B) = that mean * |B|                 means times the number of samples
    longest    m(B) = sum_i w_i m_i / (|B| max_i w_i) sums over the longest sample's length
    classes    m(B) = sum_c sum_(i of c) m_i / n_c(B) classes weighed by their counts in B
    rows       m(B) = sum_i w_i r_i(B) / sum_i w_i    r_i(B): sample i alone, padded as in B
    measured   m(B) as it was measured                where samples are coupled

and a rule by which a window of micro-batches joins them, G = sum_j s_j m(B_j): see _rules.py. A
law says G = C A for a matrix C of cuts by atoms and atoms A (gradients that were measured), with
nothing left free. README.md in this folder derives it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from batchproof.check._laws._rules import SUM, Rule, Weigh, over, scales
from batchproof.check._measure._cuts import Cut, MicroBatch

# constants below a mean that are smaller beside its count are added against 0 / 0 alone
_LEAST = 1e-6


@dataclass(frozen=True)
class Micro:
    """The gradient of one micro-batch, as shares of atoms, and its weight.

    Attributes:
        kind: "ratio", "clamped", "raised", "sum", "divided", "times", "longest", "classes", "rows"
            or "measured".
        shares: the atoms of a micro-batch with their coefficients.
        weigh: the weight of a micro-batch.
        label: what the weights are, in words.
    """

    kind: str
    shares: Callable[[MicroBatch], list[tuple[int, float]]]
    weigh: Weigh
    label: str = ""

    @property
    def of_samples(self) -> bool:
        """Return whether its atoms are the samples alone."""
        return self.kind not in {"rows", "measured"}


def ratio(weights: Tensor, label: str = "") -> Micro:
    """Return the law of a mean with these weights, one per sample; atoms are the samples."""
    values = weights.tolist()

    def weigh(piece: MicroBatch) -> float:
        return float(sum(values[i] for i in piece.samples))

    def shares(piece: MicroBatch) -> list[tuple[int, float]]:
        total = weigh(piece)
        return [(i, over(values[i], total)) for i in piece.samples]

    return Micro("ratio", shares, weigh, label)


def clamped(counts: Tensor, label: str = "") -> Micro:
    """Return the law of a sum over a count that is taken for 1 where it is 0.

    Args:
        counts: one per sample, as counted.
        label: what was counted.
    """
    return _summed_over("clamped", lambda count: max(1.0, count), counts, label)


def raised(counts: Tensor, constant: float, label: str = "") -> Micro:
    """Return the law of a sum over a count to which a constant is added.

    Args:
        counts: one per sample, as counted.
        constant: what is added.
        label: what was counted.
    """
    text = f"{label}, plus {constant:.6g}"
    return _summed_over("raised", lambda count: count + constant, counts, text)


def _summed_over(kind: str, divisor: Callable[[float], float], counts: Tensor, label: str) -> Micro:
    """Return the law of a sum over samples, divided by a function of their count."""
    values = counts.tolist()

    def weigh(piece: MicroBatch) -> float:
        return divisor(float(sum(values[i] for i in piece.samples)))

    def shares(piece: MicroBatch) -> list[tuple[int, float]]:
        return [(i, divisor(values[i]) / weigh(piece)) for i in piece.samples]

    return Micro(kind, shares, weigh, label)


def summed() -> Micro:
    """Return the law of a sum over samples. A window that only adds is exact under it."""
    return Micro("sum", lambda piece: [(i, 1.0) for i in piece.samples], lambda _: 1.0, "sum")


def scaled(weights: Tensor, label: str = "", power: int = -1) -> Micro:
    """Return the law of a mean with these weights, divided by, or times, its number of samples.

    Args:
        weights: of the mean, one per sample.
        label: what they are.
        power: -1 where the mean is divided, 1 where it is multiplied.
    """
    mean = ratio(weights, label)

    def shares(piece: MicroBatch) -> list[tuple[int, float]]:
        return [(i, share * len(piece.samples) ** power) for i, share in mean.shares(piece)]

    kind = "divided" if power < 0 else "times"
    return Micro(kind, shares, lambda piece: float(len(piece.samples)), label)


def over_longest(counts: Tensor, label: str) -> Micro:
    """Return the law of a sum over samples times the largest count, as of padded positions.

    Args:
        counts: one per sample, as counted.
        label: what was counted.
    """
    values = counts.tolist()

    def weigh(piece: MicroBatch) -> float:
        return len(piece.samples) * float(max(values[i] for i in piece.samples))

    def shares(piece: MicroBatch) -> list[tuple[int, float]]:
        return [(i, over(values[i], weigh(piece))) for i in piece.samples]

    return Micro("longest", shares, weigh, label)


def by_class(classes: Tensor, label: str, *, mean: bool) -> Micro:
    """Return the law of losses that are divided by how often their class is in the micro-batch.

    Args:
        classes: one per sample.
        label: the tensor that holds them.
        mean: whether classes that are there are averaged, and not added.
    """
    values = classes.tolist()

    def shares(piece: MicroBatch) -> list[tuple[int, float]]:
        counts = Counter(values[i] for i in piece.samples)
        whole = len(counts) if mean else 1
        return [(i, 1 / counts[values[i]] / whole) for i in piece.samples]

    return Micro("classes", shares, lambda piece: float(len(piece.samples)), label)


def rule_for(rule: Rule, micro: Micro) -> Rule:
    """Return the rule as the micro-batch law needs it: sums are exact when they are added up."""
    if micro.kind != "sum":
        return rule
    across = "sum" if rule.across == "pooled" else rule.across
    return replace(SUM if rule.pools else rule, across=across, factor=rule.factor)


def parts_of(micro: Micro, rule: Rule, cut: Cut) -> list[float]:
    """Return s_j for every micro-batch of the cut, as the micro-batch law needs it."""
    return scales(rule_for(rule, micro), cut, micro.weigh)


def design(micro: Micro, rule: Rule, cuts: Sequence[Cut], atoms: int) -> Tensor:
    """Return the matrix C of a law: one row per cut, one column per atom."""
    matrix = [[0.0] * atoms for _ in cuts]
    for row, cut in zip(matrix, cuts, strict=True):
        for piece, scale in zip(cut.pieces, parts_of(micro, rule, cut), strict=True):
            for atom, share in micro.shares(piece):
                row[atom] += scale * share
    return torch.tensor(matrix, dtype=torch.float64).reshape(len(cuts), atoms)


def misfit(predictions: Tensor, measurements: Tensor) -> float:
    """Return the largest relative distance of a row's prediction from what was measured."""
    size = torch.maximum(predictions.norm(dim=1), measurements.norm(dim=1))
    size = torch.maximum(size, 1e-6 * measurements.norm(dim=1).max())
    gap = (predictions - measurements).norm(dim=1)
    worst = torch.where(gap == 0, gap, gap / size).max()
    return float(worst) if bool(torch.isfinite(worst)) else float("inf")


def recover_weights(
    singles: Tensor, subsets: Sequence[tuple[Sequence[int], Tensor]]
) -> Tensor | None:
    """Find the weights of samples from micro-batches that hold several of them.

    Where m(S) = sum_i w_i m_i / sum_i w_i, then sum_{i in S} w_i (m_i - m(S)) = 0: linear
    equations in w, whose one solution, up to scale, is the last right singular vector.

    Args:
        singles: gradients of single samples, one per row.
        subsets: samples and the gradient of the micro-batch of them.

    Returns:
        Weights with mean 1, or None where the equations do not determine them.
    """
    count = len(singles)
    blocks = []
    for samples, gradient in subsets:
        block = torch.zeros(gradient.numel(), count, dtype=torch.float64)
        index = list(samples)
        block[:, index] = (singles[index] - gradient).T / max(float(gradient.norm()), 1e-300)
        blocks.append(block)
    matrix = torch.cat(blocks)
    if matrix.shape[0] < count - 1 or not bool(torch.isfinite(matrix).all()):
        return None
    _, values, right = torch.linalg.svd(matrix, full_matrices=matrix.shape[0] < count)
    if len(values) > 1 and float(values[count - 2]) < 1e-9 * float(values[0]):
        return None
    weights = right[-1]
    weights = weights / weights.sum() * count
    return weights if bool((weights > -1e-6).all()) else None


def recover_constant(
    counts: Tensor, singles: Tensor, subsets: Sequence[tuple[Sequence[int], Tensor]]
) -> float | None:
    """Find the constant that is added to a count below a sum, from micro-batches of several.

    Where (sum_i w_i + c) m(S) = sum_i (w_i + c) m_i, then

        c (m(S) - sum_i m_i) = sum_i w_i (m_i - m(S))

    Args:
        counts: w, one per sample.
        singles: gradients of single samples, one per row.
        subsets: samples and the gradient of the micro-batch of them.

    Returns:
        The constant, or None where it is not positive.
    """
    left, right = [], []
    for samples, gradient in subsets:
        own, weights = singles[list(samples)], counts[list(samples)]
        left.append(gradient - own.sum(0))
        right.append(weights @ (own - gradient))
    x, y = torch.cat(left), torch.cat(right)
    size = float(x @ x)
    constant = float(x @ y) / size if size > 0 else 0.0
    return constant if constant > _LEAST * float(counts.mean()) else None


def compress(rows: Tensor) -> Tensor:
    """Return the rows in coordinates of their own span: the same lengths and angles."""
    if rows.shape[1] <= rows.shape[0]:
        return rows
    triangle: Tensor = torch.linalg.qr(rows.T, mode="r").R
    return triangle.T

"""Sums, products and quotients of dimensions."""

import ast
import re
from dataclasses import replace

from batchproof.audit._dimensions._lattice import (
    MASKED,
    UNKNOWN,
    Base,
    Choice,
    Constant,
    Count,
    Criterion,
    Dataset,
    Function,
    Instance,
    Listing,
    Loader,
    Model,
    Option,
    Quantity,
    Reference,
    Sampler,
    Several,
    Tensor,
    Unit,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._layers import either
from batchproof.audit._dimensions._loaders import SIZES, equal_batches, number
from batchproof.audit._dimensions._names import words_of

CHOICES = 6  # functions that one value may be
SAMPLES = {"batch", "elements", "mask"}
_WHOLE = {"batches", "data set", "padded", "portions", "full"}
_MASKS = ("mask", "pad", "valid", "bound")


def is_mask(value: Value) -> str:
    """Return the name of a mask, where a value is one, or ""."""
    if isinstance(value, Tensor) and value.form == "mask":
        return value.text or "mask"
    text = value.text if isinstance(value, Tensor | Unknown) else ""
    if any(word in words_of(text) for word in _MASKS) and not (
        isinstance(value, Tensor) and value.output
    ):
        return text
    return ""


# names of numbers that are no lengths
_OF_LOSSES = re.compile(r"loss|acc|err|score|metric|value|mean|avg", re.IGNORECASE)


def name_of(value: Value) -> str:
    """Return the code of a plain divisor or factor, or ""."""
    if isinstance(value, Constant):
        return str(value.value)
    return value.text if isinstance(value, Option | Unknown | Count) else ""


def multiply(first: Value, second: Value) -> Value:
    """Return the dimension of a product."""
    if isinstance(second, Quantity) and not isinstance(first, Quantity):
        first, second = second, first
    if isinstance(first, Quantity):
        if isinstance(second, Quantity) and first.base == second.base == "elements":
            sure, masked = first.sure and second.sure, first.masked or second.masked
            return replace(first, sure=sure, graph=first.graph or second.graph, masked=masked)
        return _scale(first, second)
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return blend(first, second)
    if isinstance(first, Constant) and isinstance(second, Constant):
        return _fold(ast.Mult(), first, second)
    if isinstance(second, Count) and isinstance(first, Constant):
        first, second = second, first
    if isinstance(first, Count) and isinstance(second, Constant) and number(first) is not None:
        return _fold(ast.Mult(), Constant(number(first)), second)  # four fifths of a data set
    if isinstance(first, Count) and isinstance(second, Count):
        counts = {first.unit: first, second.unit: second}
        if counts.keys() == {"batches", "nominal"} and not counts["batches"].plus:
            text = f"{first.text} * {second.text}"
            return Count("padded", counts["batches"].key, text=text)
    return _elements(first, second) or _elements(second, first) or UNKNOWN


def _elements(size: Value, each: Value) -> Count | None:
    """Return the elements of a batch, `batch_size * length`, where each sample has as many."""
    by_name = isinstance(each, Option | Unknown) and not _OF_LOSSES.search(name_of(each))
    alike = by_name or (number(each) or 0) > 1
    if isinstance(size, Count) and size.unit in {"batch", "elements"} and not size.plus and alike:
        text = f"{size.text} * {name_of(each)}"
        return Count("elements", size.key, text=text, conditional=size.conditional)
    return None


def _scale(quantity: Quantity, by: Value) -> Value:
    mask = is_mask(by)
    if mask and quantity.base == "elements":
        return replace(quantity, masked=mask)
    if isinstance(by, Count):
        if by.unit in SAMPLES and quantity.base == "mean" and not quantity.over:
            if f"/{by.unit}" in quantity.scales:
                return replace(quantity, scales=_without(quantity.scales, f"/{by.unit}"))
            unit = "sample" if by.unit == "batch" else by.unit
            of_mask = quantity.unit == "mask" and by.unit != "mask"
            ignores = MASKED if of_mask else quantity.ignores
            return replace(quantity, base="sum", unit=unit, ignores=ignores)
        if by.unit == "nominal" and quantity.base == "mean" and not quantity.scales:
            return replace(quantity, base="sum", unit="nominal")
        return with_scale(quantity, f"*{by.text or by.unit}")
    if isinstance(by, Option | Unknown):
        return _by_name(quantity, by.text)
    if isinstance(by, Constant):
        return replace(quantity, scales=_without(quantity.scales, f"/{by.value}"))
    if isinstance(by, Tensor):
        graph = True if by.graph else quantity.graph
        return replace(quantity, sure=quantity.base == "elements" and quantity.sure, graph=graph)
    return replace(quantity, base="unknown", sure=False)


def _by_name(quantity: Quantity, factor: str) -> Quantity:
    """Return a product with a factor that is known by its code: `1 / k` divides by k."""
    whole, over, part = factor.partition("/")
    if over and whole in {"1", "1.0"}:
        return with_scale(quantity, f"/{part}")
    if factor and f"/{factor}" in quantity.scales:
        return replace(quantity, scales=_without(quantity.scales, f"/{factor}"))
    return with_scale(quantity, f"*{factor}")


def with_scale(quantity: Quantity, scale: str) -> Quantity:
    """Return a quantity that was multiplied, as in "*k", or divided, as in "/k"."""
    return replace(quantity, scales=(*quantity.scales, scale)[-4:])


def _without(scales: tuple[str, ...], scale: str) -> tuple[str, ...]:
    if scale not in scales:
        return scales
    place = scales.index(scale)
    return scales[:place] + scales[place + 1 :]


def divide(first: Value, second: Value) -> Value:
    """Return the dimension of a quotient."""
    if isinstance(first, Quantity):
        return _quotient(first, second)
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return blend(first, second)
    if isinstance(first, Constant) and isinstance(second, Quantity) and not second.over:
        return replace(second, base="coupled")
    if isinstance(first, Constant) and isinstance(second, Constant):
        return _fold(ast.Div(), first, second)
    if isinstance(first, Count) and isinstance(second, Count):
        return _portions(first, second, "portions")
    if isinstance(first, Unknown | Option | Constant) and isinstance(
        second, Unknown | Option | Constant
    ):
        over = name_of(second)
        return Unknown(f"{name_of(first)}/{over}") if name_of(first) and over else UNKNOWN
    return UNKNOWN


def _portions(samples: Count, size: Count, unit: Unit) -> Value:
    """Return the number of batches that a data set makes, by its length and the batch size."""
    if (samples.unit, size.unit) != ("data set", "nominal") or samples.plus:
        return UNKNOWN
    sign = "//" if unit == "full" else "/"
    return Count(unit, size.key, text=f"{samples.text} {sign} {size.text}")


def _quotient(quantity: Quantity, by: Value) -> Value:
    if isinstance(by, Quantity):
        return replace(quantity, base="coupled", sure=False)
    if isinstance(by, Count) and by.unit == "nominal" and quantity.base == "sum":
        base: Base = "mean" if quantity.unit == "nominal" else "sum"
        scales = quantity.scales if base == "mean" else (*quantity.scales, "/nominal")
        return replace(quantity, base=base, unit="", scales=scales)
    if quantity.over and quantity.divisor is None:
        if isinstance(by, Count):
            return replace(quantity, divisor=by)
        return replace(quantity, divisor=Count("items", "", text=name_of(by)))
    if isinstance(by, Count) and by.unit in SAMPLES and quantity.base == "sum":
        unit = "" if by.unit == "batch" else by.unit
        return replace(quantity, base="mean", unit=unit)
    text = by.unit if isinstance(by, Count) else name_of(by)
    if isinstance(by, Count) and by.text and f"*{by.text}" in quantity.scales:
        text = by.text  # the length of a list, whatever it is a list of
    elif quantity.metric and quantity.base == "sum" and text.startswith("len("):
        return replace(quantity, base="mean")  # hits, over the length of the predictions
    elif isinstance(by, Count) and not quantity.over and by.unit in _WHOLE:
        return replace(with_scale(quantity, f"/{text}"), divisor=by)
    if f"*{text}" in quantity.scales:
        return replace(quantity, scales=_without(quantity.scales, f"*{text}"))
    return with_scale(quantity, f"/{text}")


def add(first: Value, second: Value) -> Value:
    """Return the dimension of a sum or a difference of two terms."""
    if isinstance(second, Quantity) and not isinstance(first, Quantity):
        first, second = second, first
    if isinstance(first, Quantity):
        return _with_term(first, second) if isinstance(second, Quantity) else first
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return blend(first, second)
    if isinstance(second, Count) and not isinstance(first, Count):
        first, second = second, first
    if isinstance(first, Count):
        return _more(first, second)
    if isinstance(first, Constant) and isinstance(second, Constant):
        return _fold(ast.Add(), first, second)
    return UNKNOWN


def _more(count: Count, second: Value) -> Value:
    if isinstance(second, Constant):
        if isinstance(second.value, float):
            return replace(count, guarded=True)
        if isinstance(second.value, int):
            text = f"({count.text} + {second.value})" if count.text else ""
            return replace(count, plus=count.plus + second.value, text=text)
    if isinstance(second, Unknown | Option) and "eps" in second.text.lower():
        return replace(count, guarded=True)
    return UNKNOWN


def subtract(first: Value, second: Value) -> Value:
    """Return the dimension of a difference."""
    if isinstance(first, Count) and isinstance(second, Constant) and isinstance(second.value, int):
        return replace(first, plus=first.plus - second.value)
    if isinstance(first, Constant) and isinstance(second, Constant):
        return _fold(ast.Sub(), first, second)
    if isinstance(first, Count) or isinstance(second, Count):
        return UNKNOWN
    result = add(first, second)
    tensors = isinstance(first, Tensor | Unknown) and isinstance(second, Tensor | Unknown)
    if tensors and isinstance(result, Tensor) and result.output:
        return replace(result, form="difference")
    return result


def _with_term(first: Quantity, second: Quantity) -> Quantity:
    base: Base = first.base if first.base == second.base else "unknown"
    if first.over != second.over or first.divisor != second.divisor:
        return replace(first, base="unknown", sure=False)
    if "coupled" in {first.base, second.base} and base == "unknown":
        base = "mean" if "mean" in {first.base, second.base} else "unknown"
    means = [term for term in (first, second) if term.base == "mean" and term.sure]
    part = means[0] if means and base == "mean" and not first.over else None
    return replace(
        part or first,  # a mean in sight is one, whatever is added to it
        base=base,
        text=first.text,
        graph=True if True in (first.graph, second.graph) else first.graph,
        sure=part is not None or (first.sure and second.sure),
        scales=_common(first, second),
        masked=first.masked or second.masked,
        loop=first.loop or second.loop,
        ignores=first.ignores or second.ignores,
        classes=first.classes or second.classes,
        conditional=first.conditional or second.conditional,
    )


def _common(first: Quantity, second: Quantity) -> tuple[str, ...]:
    """Return the scales of a sum of two terms.

    A weight of one term, as in `a * first + (1 - a) * second`, scales no sum of both; a divisor
    does, and so does a factor that may be a number of samples.
    """
    scales = max(first.scales, second.scales, key=len)
    alike = first.base == second.base and first.base in {"mean", "sum"}
    if first.scales == second.scales or not alike:
        return scales
    both = set(first.scales) & set(second.scales) - {"*"}
    return tuple(s for s in scales if s in both or s[0] == "/" or _may_count(s[1:]))


def _may_count(factor: str) -> bool:
    """Return whether a factor may be a number of samples, by its name."""
    words = words_of(factor).split()
    return bool({"batch", "size", "n", "b", "bs", "num", "len", "count", "samples"} & set(words))


def distance(difference: Tensor) -> Quantity:
    """Return the loss of each element that a difference is, squared or without its sign."""
    return Quantity("elements", difference.loop, graph=difference.graph, name="the difference")


def blend(first: Value, second: Value) -> Tensor:
    """Return the result of an operation on tensors, of which only the origin is known."""
    tensors = [v for v in (first, second) if isinstance(v, Tensor)]
    graphs = [t.graph for t in tensors]
    graph = True if True in graphs else (None if None in graphs else False)
    output = any(t.output for t in tensors)
    loop = next((t.loop for t in tensors if t.loop), "")
    return Tensor(loop, "", graph, output, rows=tensors[0].rows if tensors else None)


def _fold(operator: ast.operator, first: Constant, second: Constant) -> Value:
    a, b = first.value, second.value
    if (
        not (isinstance(a, int | float) and isinstance(b, int | float))
        or max(abs(a), abs(b)) > 1e15
    ):
        return UNKNOWN
    try:
        match operator:
            case ast.Add():
                return Constant(a + b)
            case ast.Sub():
                return Constant(a - b)
            case ast.Mult():
                return Constant(a * b)
            case ast.Div():
                return Constant(a / b)
            case ast.FloorDiv():
                return Constant(a // b)
            case ast.Mod():
                return Constant(a % b)
    except (ZeroDivisionError, OverflowError):
        return UNKNOWN
    return UNKNOWN


def operate(operator: ast.operator, first: Value, second: Value) -> Value:
    """Return the dimension of `first operator second`."""
    match operator:
        case ast.Mult():
            return multiply(first, second)
        case ast.Div():
            return divide(first, second)
        case ast.Add():
            return add(first, second)
        case ast.Sub():
            return subtract(first, second)
    if isinstance(first, Constant) and isinstance(second, Constant):
        return _fold(operator, first, second)
    if isinstance(first, Count):
        return _of_counts(operator, first, second)
    if isinstance(first, Quantity) and isinstance(operator, ast.Pow):
        return replace(first, base="elements" if first.base == "elements" else "coupled")
    if isinstance(first, Tensor) and isinstance(operator, ast.Pow) and first.form == "difference":
        return distance(first)
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        masks = all(isinstance(v, Tensor) and v.form == "mask" for v in (first, second))
        return replace(blend(first, second), form="mask") if masks else blend(first, second)
    return UNKNOWN


def _of_counts(operator: ast.operator, first: Count, second: Value) -> Value:
    """Return the count that a remainder, or a quotient rounded down, is."""
    if isinstance(operator, ast.FloorDiv) and isinstance(second, Count):
        return _portions(first, second, "full")
    return first if isinstance(operator, ast.Mod) else UNKNOWN


def join(first: Value, second: Value) -> Value:
    """Return the value that is known after either of two branches."""
    if first == second:
        return first
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Constant) and one.value is None:
            return other
    if isinstance(first, Quantity) and isinstance(second, Quantity):
        return _join_quantities(first, second)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        form = first.form if first.form == second.form else ""
        graph = first.graph if first.graph == second.graph else None
        output = first.output or second.output
        ranks = first.ranks if first.ranks == second.ranks else "clean"
        return Tensor(first.loop or second.loop, form, graph, output, ranks=ranks)
    if isinstance(first, Listing) and isinstance(second, Listing):
        one_over = first if first.over else second
        return replace(one_over, conditional=first.conditional or second.conditional)
    if isinstance(first, Several) and isinstance(second, Several):
        return _join_several(first, second)
    if isinstance(first, Criterion) and isinstance(second, Criterion):
        return _join_criteria(first, second)
    if isinstance(first, Sampler) and isinstance(second, Sampler):
        return _join_samplers(first, second)
    return _join_unlike(first, second)


def _join_samplers(first: Sampler, second: Sampler) -> Sampler:
    """Return what is known of either of two samplers.

    One that draws every sample stands where there is one process, so the other says what ranks do.
    """
    kinds = {first.kind, second.kind}
    if kinds == {"all", "ranks"}:
        return first if first.kind == "ranks" else second
    return Sampler("unknown" if "batches" in kinds else "either", first.line)


def _join_loaders(first: Loader, second: Loader) -> Loader:
    """Return a loader of which is known what two have alike, as the branches of a test build."""
    data = join(first.dataset, second.dataset)
    size = first.batch_size if first.batch_size == second.batch_size else UNKNOWN
    alike = [(v.drop_last, v.index, v.per_rank, v.sampler is None) for v in (first, second)]
    smaller = all(equal_batches(part)[0] is False for part in (first, second))
    if alike[0] == alike[1] and smaller:
        ragged = first.ragged if first.ragged == second.ragged else ""
        return replace(first, batch_size=size, dataset=data, ragged=ragged)
    return replace(first, line=0, batch_size=size, dataset=data, drop_last=None)


def _join_criteria(first: Criterion, second: Criterion) -> Value:
    """Return a criterion of which the class is not known, with the reduction that both have."""
    base = _joint_base(first.base, second.base)
    if base == "unknown" or first.metric != second.metric:
        return UNKNOWN
    return Criterion(
        f"{first.name} or {second.name}",
        base,
        first.sure and second.sure,
        first.ignores if first.ignores == second.ignores else "",
        first.classes and second.classes,
        first.metric,
    )


def _joint_base(first: Base, second: Base) -> Base:
    """Return what a batch contributes after either of two branches."""
    if first == second:
        return first
    return "either" if {first, second} <= {"mean", "sum", "either"} else "unknown"


def _join_several(first: Several, second: Several) -> Value:
    """Return a tuple of the joint items of two, or a dict of the values that two have alike.

    A loader that one of two dicts has is there wherever it is read.
    """
    if not first.names and not second.names and len(first.items) == len(second.items):
        return Several(tuple(map(join, first.items, second.items)))
    if any(len(part.names) < len(part.items) for part in (first, second)):
        return UNKNOWN
    mine, other = (dict(zip(p.names, p.items, strict=True)) for p in (first, second))
    both = {n: join(mine[n], other[n]) for n in mine if n in other}
    alone = {n: v if isinstance(v, Loader) else UNKNOWN for n, v in (mine | other).items()}
    items = alone | both
    return Several(tuple(items.values()), tuple(items))


def _join_unlike(first: Value, second: Value) -> Value:
    """Return the value after two branches of which one says more than the other."""
    if isinstance(first, Loader) and isinstance(second, Loader):
        return _join_loaders(first, second)
    if isinstance(first, Reference) and isinstance(second, Reference):
        sizes = [SIZES.get(name.rpartition(".")[2]) for name in (first.name, second.name)]
        return first if sizes[0] and sizes[0] == sizes[1] else UNKNOWN
    if isinstance(first, Dataset) and isinstance(second, Dataset):
        return _join_datasets(first, second)
    if isinstance(first, Model | Instance) and isinstance(second, Model | Instance):
        return either(first, second) or UNKNOWN
    if isinstance(first, Function | Choice) and isinstance(second, Function | Choice):
        return _join_functions(first, second)
    return _join_apart(first, second)


def _join_apart(first: Value, second: Value) -> Value:
    """Return the value after two branches that give values of two kinds, or two counts."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Quantity) and isinstance(other, Constant | Unknown):
            return replace(one, conditional=True) if one.over else one
        if isinstance(one, Loader) and isinstance(other, Unknown):
            return replace(one, line=0, drop_last=None)
        if isinstance(one, Count) and isinstance(other, Constant) and other.value == one.plus:
            return replace(one, conditional=True)
    if isinstance(first, Count) and isinstance(second, Count):
        same = (first.unit, first.key) == (second.unit, second.key)
        return replace(first, conditional=True) if same else UNKNOWN
    return UNKNOWN


def _join_functions(first: Function | Choice, second: Function | Choice) -> Value:
    """Return one of the functions that two values may be."""
    parts = [
        value.functions if isinstance(value, Choice) else (value,) for value in (first, second)
    ]
    functions = tuple({function.node: function for part in parts for function in part}.values())
    if len(functions) == 1:
        return first
    return Choice(functions) if len(functions) <= CHOICES else UNKNOWN


def _join_datasets(first: Dataset, second: Dataset) -> Dataset:
    """Return a data set that is one of two, with the sizes that it may have."""
    whole = first.whole if first.whole == second.whole else ""
    sizes = {n for part in (first, second) for n in (*part.choices, part.size) if n is not None}
    if first.size == second.size:
        return replace(first, whole=whole)
    return replace(first, size=None, whole=whole, choices=tuple(sorted(sizes)))


def _join_quantities(first: Quantity, second: Quantity) -> Quantity:
    base = _joint_base(first.base, second.base)
    if (first.over, first.divisor) != (second.over, second.divisor):
        longer = first if len(first.over) + bool(first.divisor) >= len(second.over) else second
        ranks = first.ranks or second.ranks
        return replace(
            longer, conditional=True, sure=longer.sure and base == longer.base, ranks=ranks
        )
    return replace(
        first,
        base=base,
        sure=first.sure and second.sure,
        scales=max(first.scales, second.scales, key=len),
        graph=first.graph if first.graph == second.graph else None,
        masked=first.masked or second.masked,
        number=first.number and second.number,
        ranks=first.ranks or second.ranks,
        conditional=first.conditional or second.conditional,
    )

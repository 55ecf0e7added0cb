"""The values of a training loop, as far as the code shows them.

Each expression has one abstract value. `Unknown` is the top: where it appears nothing is said. The
rules reason about two of them: a `Quantity` (a loss or metric, with what it is a mean or a sum of)
and a `Count` (what a divisor counts). The laws between them:

    mean of a batch * samples of that batch = sum
    sum of a batch / samples of that batch = mean
    sum over batches of sums / samples seen = mean
    sum over batches of means / batches = mean of batch means
"""

import ast
from dataclasses import dataclass, field
from typing import Literal

Base = Literal["mean", "sum", "either", "elements", "coupled", "unknown"]
Unit = Literal[
    "batch",  # samples of one batch
    "elements",  # elements of one batch: tokens, pixels
    "mask",  # unmasked elements of one batch
    "batches",  # batches of a loader, or of a loop so far
    "some batches",  # batches that met a condition
    "offset",  # where a slice begins, in a loop that moves by the length of a slice
    "passes",  # batches of this pass and of all before it
    "seen",  # samples, or elements, added up over a loop
    "data set",  # len(dataset)
    "nominal",  # the batch size that a loader was built with
    "padded",  # batches times that size
    "portions",  # samples of a data set over that size
    "full",  # the same, rounded down: batches that are full
    "ranks",
    "items",  # a known or unknown number of other things
]
# what of a batch is padded, and how: parts by place or key, None for a tensor that is itself
Pads = tuple[tuple[object, str], ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Any value: the top of the lattice.

    Attributes:
        text: the code of it, where it is a plain name; two unknowns of one text are one value.
    """

    text: str = ""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a string, a bool or None that the code shows."""

    value: object


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the command line: any value, and this one where nobody sets it."""

    text: str
    default: object = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A name outside the file, resolved through imports: torch.nn.functional.cross_entropy."""

    name: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Attributes:
        key: which one.
        size: its number of samples, where it is known.
        whole: the key of the data set that it is a part of, or "".
        words: what its construction says about its role, in lower case.
        among: the size of that whole, where it is known.
        choices: its sizes, where it is one of several data sets.
        full: the size of the full batches whose samples it holds, where a loop collected them.
        pads: the parts of its samples that are padded.
    """

    key: str
    size: int | None = None
    whole: str = ""
    words: str = ""
    among: int | None = None
    choices: tuple[int, ...] = ()
    full: "Value | None" = None
    pads: Pads = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler: which samples a loader draws.

    Attributes:
        kind: which samples; batches where it draws whole batches.
        line: where it is built.
        drop_last: whether one of batches drops a last one that is not full; None if not known.
        batch_size: of one of batches, where that is in sight.
        of: the sampler that one of batches cuts into batches.
        size: how many samples one of a part draws, where that is known.
    """

    kind: Literal["all", "part", "ranks", "either", "batches", "unknown"]
    line: int = 0
    drop_last: bool | None = False
    batch_size: "Value" = field(default_factory=Unknown)
    of: "Sampler | None" = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Loader:
    """Something that yields batches.

    Attributes:
        key: which one: two loaders of one key are one.
        text: how the code calls it.
        line: where it is built; 0 where that is out of sight.
        batch_size: Constant, Option or Unknown.
        drop_last: None where it is not known.
        sampler: None where it draws every sample.
        dataset: what it draws from.
        ragged: why its batches differ in size whatever the batch size, or "".
        per_rank: prepared by accelerate or fabric, so that each rank sees a share.
        with_index: inside enumerate(...) from 0, so that each batch comes with its index.
        index: the name i of a loop that cuts its batches out of tensors by [i : i + size], or "".
        endless: drawn from with next(), one pass after the other.
        pads: the parts of its batches that are padded.
    """

    key: str
    text: str
    line: int = 0
    batch_size: "Value" = field(default_factory=Unknown)
    drop_last: bool | None = None
    sampler: Sampler | None = None
    dataset: "Value" = field(default_factory=Unknown)
    ragged: str = ""
    per_rank: bool = False
    with_index: bool = False
    index: str = ""
    endless: bool = False
    pads: Pads = ()

    @property
    def source(self) -> str:
        """Return the key of the data set that it draws from."""
        if isinstance(self.dataset, Dataset):
            return self.dataset.key
        return getattr(self.dataset, "text", "") or f"{self.key}.dataset"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things.

    Attributes:
        unit: of what.
        key: of which loader, data set or loop.
        plus: how many more (or fewer) than that.
        text: how the code calls it.
        conditional: counted only under a condition inside the loop.
        guarded: never zero: clamped, or with a small number added.
        size: the number itself, without plus, where it is known.
    """

    unit: Unit
    key: str
    plus: int = 0
    text: str = ""
    conditional: bool = False
    guarded: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a tensor of a batch."""

    tensor: "Tensor"


MASKED = "what a mask leaves out"  # of a mean over a mask that was multiplied by another count

Form = Literal[
    "",
    "probabilities",
    "sigmoid",
    "log-probabilities",
    "log-likelihoods",
    "logits",
    "mask",
    "classes",
    "confidence",
    "hits",
    "difference",
]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that was computed from a batch.

    Attributes:
        loop: the key of the loop over batches that it is from, or "".
        form: what is known of its values.
        graph: whether it carries a graph: None where that is not known.
        output: whether it went through a model.
        text: how the code calls it.
        rows: its first dimension, where it is known.
        ranks: how it was gathered from all ranks, or "".
        pads: the parts of it that are padded.
    """

    loop: str = ""
    form: Form = ""
    graph: bool | None = False
    output: bool = False
    text: str = ""
    rows: int | None = None
    ranks: str = ""
    pads: Pads = ()


@dataclass(frozen=True, slots=True)
class Quantity:
    """A loss or a metric.

    Attributes:
        base: what a batch contributes: a mean, a sum, one of both by a test (either), its
            elements, or a ratio (coupled).
        loop: the key of the loop over batches in which it is computed, or "".
        over: the key of the loop over which it is summed, or "".
        graph: whether it carries a graph; None where that is not known.
        sure: False where its base is what such code usually has, not what this code shows.
        scales: the divisors that are not counts of samples, in the order in which they came.
        divisor: the count that the sum was divided by.
        masked: elements were replaced by 0 under this mask, or "".
        metric: a metric, not a loss.
        text: how the code calls it.
        line: where it was computed.
        ignores: elements whose target is ignored do not count in the mean.
        classes: the mean is weighted by class.
        ranks: how it was reduced over ranks, or "".
        number: a Python number, no tensor.
        conditional: summed only under a condition inside the loop.
        spans: summed over several passes of that loop, for the sum began outside an outer one.
        unit: what the mean is a mean of, "" where it is samples or not known.
        name: where it comes from: cross_entropy, outputs.loss.
        padded: how the targets are padded that count in it, or "".
    """

    base: Base
    loop: str = ""
    over: str = ""
    graph: bool | None = None
    sure: bool = True
    scales: tuple[str, ...] = ()
    divisor: Count | None = None
    masked: str = ""
    metric: bool = False
    text: str = ""
    line: int = 0
    ignores: str = ""
    classes: bool = False
    ranks: str = ""
    number: bool = False
    conditional: bool = False
    spans: bool = False
    unit: str = ""
    name: str = ""
    padded: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list to which a loop appends.

    Attributes:
        item: what one item is.
        over: the key of the loop that appends, or "".
        conditional: appended only under a condition inside the loop, or dropped again.
        rows: it holds the samples of all batches, one by one.
    """

    item: "Value"
    over: str = ""
    conditional: bool = False
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Several:
    """A tuple of known values, or a dict of them by constant keys."""

    items: tuple["Value", ...]
    names: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A module of torch.

    Attributes:
        text: how the code calls it.
        form: what its forward returns, as far as that is visible.
        moody: whether it holds dropout or batch normalisation; None where that is not visible.
        weights: False where it is a layer that has none, as one of similarities.
    """

    text: str
    form: Form = ""
    moody: bool | None = None
    weights: bool = True


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion, as a module or a function.

    Attributes:
        name: its class or function.
        base: mean, sum or elements; unknown where the reduction is out of sight.
        sure: False where it is known by its variable's name only.
        metric: whether it is a metric, as of torchmetrics.
    """

    name: str
    base: Base
    sure: bool = True
    ignores: str = ""
    classes: bool = False
    metric: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """An optimiser, a schedule, a gradient scaler or an accelerator.

    Attributes:
        kind: which of them.
        text: how the code calls it.
        sure: False where it may be switched off.
        of: the code of the parameters that it is given.
        ranks: False where an accelerator is made for one process.
    """

    kind: Literal["optimizer", "scheduler", "plateau", "scaler", "accelerator", "fabric", "writer"]
    text: str
    sure: bool = True
    of: str = ""
    ranks: bool = True


@dataclass(frozen=True, slots=True)
class Meter:
    """A running average with update(value, n=1).

    Attributes:
        text: how the code calls it.
        key: which one.
        pools: whether its class, which is in sight, reduces over ranks itself.
        keeps: whether its class, which is in sight, adds up tensors with their graphs.
    """

    text: str
    key: str
    pools: bool = False
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class StateDict:
    """The weights of a model.

    Attributes:
        model: whose.
        is_copy: not the live tensors.
    """

    model: str
    is_copy: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """The names of a file, or of the function around another.

    Attributes:
        names: their values.
        depths: how many loops were around the last plain assignment of each.
    """

    names: dict[str, "Value"] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of this file, or of a file of the same package.

    Attributes:
        node: its statements.
        module: the file.
        owner: the object whose method it is.
        around: the names of the function that it is defined in.
    """

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    module: object
    owner: "Instance | None" = None
    around: "Scope | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of several functions, as the branches of a test or the items of a dict give it."""

    functions: tuple[Function, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """A class of this file, or of a file of the same package."""

    node: ast.ClassDef
    module: object


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object of such a class.

    Attributes:
        kind: the class.
        text: how the code calls it.
        attributes: what its methods set.
        depths: how many loops were around the last plain assignment of an attribute.
        born: how many loops were around where it was made.
    """

    kind: Class
    text: str
    attributes: dict[str, "Value"] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    born: int = 0


Value = (
    Unknown
    | Constant
    | Option
    | Reference
    | Dataset
    | Sampler
    | Loader
    | Count
    | Shape
    | Tensor
    | Quantity
    | Listing
    | Several
    | Model
    | Criterion
    | Tool
    | Meter
    | StateDict
    | Function
    | Choice
    | Class
    | Instance
)

UNKNOWN = Unknown()
NOTHING = Constant(None)

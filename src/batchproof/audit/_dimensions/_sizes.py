"""The batch size that a loader was built with, in place of the sizes of its batches.

B times the number of batches is the number of samples only where every batch is full:

    Σ_b B · mean_b / N            weighs a smaller batch as much as a full one
    Σ_b mean_b / (N / B)          is the same
    Σ_b sum_b / (B · batches)     divides by more samples than there are
    Σ_b mean_b / (N // B)         divides by one batch fewer than there are
"""

from batchproof.audit._dimensions._lattice import (
    Constant,
    Count,
    Loader,
    Option,
    Quantity,
    Unknown,
    Value,
)
from batchproof.audit._dimensions._loaders import equal_batches, number
from batchproof.audit._dimensions._trace import Event, Loop, Trace

_NAMES = {
    "batch_size",
    "batchsize",
    "bs",
    "train_batch_size",
    "eval_batch_size",
    "test_batch_size",
}


def is_nominal(value: Value) -> bool:
    """Return whether a value is the batch size that a loader was built with, by its name."""
    if isinstance(value, Count):
        return value.unit == "nominal"
    text = value.text.lower() if isinstance(value, Unknown | Option) else ""
    return text.rsplit(".", 1)[-1] in _NAMES


def size_next(trace: Trace, event: Event) -> bool:
    """Return whether a sum over batches is divided by the batch size next: Σ_b sum_b / b / B."""
    total = event.value
    if not isinstance(total, Quantity) or total.base != "sum":
        return False
    following = (e for e in trace.of("divide") if getattr(e.node, "left", None) is event.node)
    return any(is_nominal(e.other) for e in following)


def is_size(value: Value, name: str, loader: Loader) -> bool:
    """Return whether a number or a name is the batch size that a loader was built with.

    Args:
        value: the number or what is known of it.
        name: the name by which the code calls it, "" where it is written out.
        loader: the loader.
    """
    size = loader.batch_size
    if isinstance(value, Constant):
        speaks = not name or is_nominal(Unknown(name))
        return speaks and number(value) == number(size) and number(size) not in {None, 1}
    if isinstance(size, Unknown) and not size.text:
        return is_nominal(value)
    return isinstance(value, Unknown | Option) and value.text != "" and value == size


def weighs_by_size(total: Quantity, by: Count, loader: Loader) -> bool:
    """Return whether a quotient is the mean of batch means, by way of the batch size."""
    if total.base == "mean":
        return by.unit == "portions" and by.key == loader.key
    by_size = (total.base, total.unit) == ("sum", "nominal")
    return by_size and by.unit in {"seen", "data set", "padded"}


def counts_samples(by: Count, loop: Loop, loader: Loader) -> bool:
    """Return whether a divisor is the number of samples that a loop over a loader goes through."""
    return (by.unit, by.key) in {("seen", loop.key), ("data set", loader.source)}


def meter_clash(event: Event) -> tuple[str, str, bool] | None:
    """Return what a meter that is given the sum of a batch computes, and why it is wrong.

    Its third part is whether the code shows that it is a sum; None is for what is right.

    Args:
        event: where a meter is given a value and a number beside it.
    """
    value, weight, loop = event.value, event.other, event.batches
    loader = loop.loader if loop is not None else None
    if not isinstance(value, Quantity) or loader is None:
        return None
    weighs = isinstance(weight, Count) and weight.unit == "batch"
    if value.base != "sum" or value.metric or value.over or value.scales or not weighs:
        return None
    if number(loader.batch_size) == 1 or (not loader.line and value.unit != "sample"):
        return None
    how = "times its size already" if value.unit else "a sum over its batch"
    why = f"{value.name or 'the loss'} (line {value.line}) is {how}, and is weighted by it again"
    return "Σ_b n_b · (Σ_i loss_i) / number of samples", why, value.sure


def size_clash(total: Quantity, by: Count, loader: Loader) -> tuple[str, tuple[str, ...]] | None:
    """Return what a quotient with the batch size in its divisor computes, and why it is wrong.

    Args:
        total: what a loop over batches summed.
        by: the divisor.
        loader: what yields the batches.

    Returns:
        None where all batches are equal, or the divisor has no batch size in it.
    """
    each, (equal, why) = "Σ_b Σ_i loss_i", equal_batches(loader)
    if total.base == "mean":
        each = "Σ_b mean_b"
    elif by.unit == "full":
        return None
    if (total.base, by.unit) == ("mean", "padded"):
        equal, why = False, "the quotient is too small by the batch size"
    if equal or not (by.unit in {"padded", "full"} or total.scales == ("/nominal",)):
        return None
    count = "full batches" if by.unit == "full" else "(B · batches)"
    return f"{each} / {count}", (f"{by.text or 'the divisor'} counts {count}", why)

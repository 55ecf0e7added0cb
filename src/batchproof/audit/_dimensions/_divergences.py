"""Divergences of distributions, whose default mean divides by the number of classes too."""

import ast

from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._trace import Event

_CLASS, _FUNCTION = "KLDivLoss", "kl_div"
_REDUCES = {"reduction", "size_average", "reduce"}


BATCH_MEAN = 'F.kl_div(log_probabilities, targets, reduction="batchmean")'


def divergence_clash(event: Event) -> tuple[str, str, tuple[str, ...]] | None:
    """Return what the default mean of a divergence computes, what was meant, and why; or None.

    The divergence of a sample is a sum over classes, so its mean over a batch is `batchmean`. The
    default divides by the number of classes once more: see `torch.nn.functional.kl_div`.

    Args:
        event: the call of a criterion.
    """
    call = event.node
    if not isinstance(call, ast.Call) or not _of_distributions(call):
        return None
    if dotted(call.func).rpartition(".")[2] == _FUNCTION:
        plain = len(call.args) < 3 and not _reduces(call)
    else:
        inline = isinstance(call.func, ast.Call)
        makers = [call.func] if inline else _makers(event, dotted(call.func))
        plain = bool(makers) and all(_is_plain(maker) for maker in makers)
    if not plain:
        return None
    name = getattr(event.value, "name", "") or _FUNCTION
    evidence = (f"the mean of {name} divides by samples and by classes", "torch warns of it")
    formula = "Σ_i Σ_c kl_ic / n"
    return f"{formula} / classes", formula, evidence


def _of_distributions(call: ast.Call) -> bool:
    """Return whether the first argument is written as log-probabilities over classes."""
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Call) and dotted(first.func).endswith("log_softmax")


def _makers(event: Event, name: str) -> list[ast.expr]:
    """Return what a file assigns to the name of a criterion."""
    nodes = (n for n in ast.walk(event.module.tree) if isinstance(n, ast.Assign))
    return [n.value for n in nodes if name and name in map(dotted, n.targets)]


def _is_plain(maker: ast.expr) -> bool:
    if not isinstance(maker, ast.Call) or maker.args or _reduces(maker):
        return False
    return dotted(maker.func).rpartition(".")[2] == _CLASS


def _reduces(call: ast.Call) -> bool:
    return any(k.arg in _REDUCES or k.arg is None for k in call.keywords)

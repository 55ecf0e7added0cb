"""Whether a model differs between training and evaluation, and in which mode it begins.

A module begins in training mode. Where the code shows its construction and its layers, and nothing
switches it before a pass that records no gradient, dropout is on in that pass, and batch
normalisation takes the statistics of the batch and changes its own.
"""

import ast
import re

from batchproof.audit._dimensions._lattice import Class, Constant, Instance, Model
from batchproof.audit._dimensions._names import Module, dotted
from batchproof.audit._dimensions._trace import Event, Trace

_SWITCH = re.compile(r"\.(eval|train)\(")
_LAYERS = re.compile(
    r"\b(Sync)?(Dropout|BatchNorm)(\dd)?\(|\bTransformer((En|De)coderLayer)?\("
    r"|\bdropout\w* *= *(?!0\b(?!\.[0-9]*[1-9])|None|False)"
)
_BUILDS = re.compile(r"(?<!nn\.)\b([A-Z]\w+|resnet\w*|vgg\w*|from_pretrained|create_model)\(")
_RATES = re.compile(r"dropout|drop_rate|drop_prob|p_drop|drop_p")
_ON_PURPOSE = re.compile(r"bn|stat|calib|swa|running|monte|mc_|uncertain|train", re.IGNORECASE)


def has_modes(event: Event) -> bool:
    """Return whether a model has dropout or batch normalisation, as far as that is in sight."""
    value = event.value
    if isinstance(value, Model):
        return value.moody is True
    if isinstance(value, Instance):
        return bool(_LAYERS.search(_code_of(value.kind)))
    return _takes_a_rate(event)


def is_plain(value: object) -> bool:
    """Return whether a model computes the same in both modes, all of whose parts are in sight."""
    if isinstance(value, Model):
        return value.moody is False
    if not isinstance(value, Instance) or not isinstance(value.kind.module, Module):
        return False
    code, module = _code_of(value.kind), value.kind.module
    parts = [v for v in value.attributes.values() if isinstance(v, Instance) and v is not value]
    of_torch = {n for n, origin in module.imports.items() if origin.startswith("torch.")}
    builds = set(_BUILDS.findall(code)) - module.classes.keys() - of_torch
    out_of_sight = builds - {part.kind.node.name for part in parts}
    return not (out_of_sight or _LAYERS.search(code)) and all(is_plain(part) for part in parts)


def is_switched(event: Event) -> bool:
    """Return whether a line of the file sets the mode of some model."""
    return any(_SWITCH.search(line) for line in event.module.lines)


def begins_in_training(trace: Trace, event: Event) -> str:
    """Return that a model is evaluated in the mode in which it was made, or "".

    Args:
        trace: the events.
        event: a forward pass before which nothing sets a mode.
    """
    in_sight = isinstance(event.value, Model | Instance)
    if not (in_sight and trace.whole and has_modes(event)) or _ON_PURPOSE.search(event.function):
        return ""
    if event.function == "forward":  # a part of the model whose pass this is
        return ""
    names = {event.text, getattr(event.value, "text", "")} - {""}
    handed = [text for order, text in trace.opaque if order < event.order]
    if names & {text.partition(".")[0] for text in handed}:
        return ""
    return "a model begins in training mode, and nothing switches it before this line"


def _takes_a_rate(event: Event) -> bool:
    """Return whether a model is built, out of sight, with a rate of dropout that is not 0."""
    for node in ast.walk(event.module.tree):
        match node:
            case ast.Assign([target], ast.Call(keywords=keywords)) if dotted(target) == event.text:
                rates = [k.value for k in keywords if k.arg and _RATES.search(k.arg)]
                if any(not (isinstance(r, ast.Constant) and not r.value) for r in rates):
                    return True
    return False


def _code_of(kind: Class) -> str:
    """Return the code of a class, and of the classes of its file that it names."""
    module = kind.module
    if not isinstance(module, Module):
        return ""
    waiting, visits = [kind.node], dict[str, str]()
    while waiting:
        node = waiting.pop()
        code = "\n".join(module.lines[node.lineno - 1 : node.end_lineno])
        visits[node.name] = code
        names = set(re.findall(r"\w+", code)) & module.classes.keys() - visits.keys()
        waiting += [module.classes[name] for name in names]
    return "\n".join(visits.values())


def is_positive(value: object) -> bool:
    """Return whether a rate of dropout is known not to be 0."""
    return isinstance(value, Constant) and isinstance(value.value, float) and value.value > 0

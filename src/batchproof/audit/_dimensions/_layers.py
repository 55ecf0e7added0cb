"""The layers of a model, as its code shows them: whether training and evaluation differ for it."""

import ast
import builtins
import re

from batchproof.audit._dimensions._lattice import Class, Instance, Model, Value
from batchproof.audit._dimensions._names import Module, dotted, methods_of

_LAYERS = re.compile(
    r"\b(Sync)?(Dropout|BatchNorm)(\dd)?\(|\bTransformer((En|De)coderLayer)?\("
    r"|\bdropout\w* *= *(?!0\b(?!\.[0-9]*[1-9])|None|False)"
)
_CALLS = re.compile(r"\b([A-Z]\w+|from_pretrained|create_model)\(")
_BUILDS = re.compile(r"(?<!nn\.)\b([A-Z]\w+|resnet\w*|vgg\w*|from_pretrained|create_model)\(")

_BUILT_IN = set(dir(builtins))  # RuntimeError and its like


def has_layers(kind: Class) -> bool:
    """Return whether a class holds dropout or batch normalisation, or one that it names does."""
    return bool(_LAYERS.search(_code_of(kind)))


def is_plain(value: object) -> bool:
    """Return whether a model computes the same in both modes, all of whose parts are in sight."""
    if isinstance(value, Model):
        return value.moody is False
    if not isinstance(value, Instance) or not isinstance(value.kind.module, Module):
        return False
    code, module = _code_of(value.kind), value.kind.module
    parts = [v for v in value.attributes.values() if isinstance(v, Instance) and v is not value]
    of_torch = {n for n, origin in module.imports.items() if origin.startswith("torch.")}
    builds = set(_BUILDS.findall(code)) - module.classes.keys() - of_torch - _BUILT_IN
    out_of_sight = builds - {part.kind.node.name for part in parts}
    return not (out_of_sight or _LAYERS.search(code)) and all(is_plain(part) for part in parts)


def has_no_weights(value: object) -> bool:
    """Return whether a module in sight builds no layer and no parameter, as a transform does.

    It is given none either: whatever it takes has a default that is written out.
    """
    if isinstance(value, Model):
        return not value.weights
    if not isinstance(value, Instance) or not isinstance(value.kind.module, Module):
        return False
    kind, code = value.kind.node, _code_of(value.kind)
    builds = set(_CALLS.findall(code)) - value.kind.module.classes.keys() - _BUILT_IN
    start = methods_of(kind).get("__init__")
    parameters, defaults = (start.args.args, start.args.defaults) if start is not None else ([], [])
    plain = all(isinstance(d, ast.Constant) for d in defaults)
    takes = len(parameters) - len(defaults) > 1 or (start is not None and start.args.vararg)
    own = [dotted(base).rpartition(".")[2] for base in kind.bases] == ["Module"]
    return own and plain and "self." in code and not (takes or builds or "Parameter(" in code)


def either(first: Model | Instance, second: Model | Instance) -> Value | None:
    """Return what is known of a model that is one of two, None where one of them is no model."""
    if not all(isinstance(v, Model) or "def forward(" in _code_of(v.kind) for v in (first, second)):
        return None
    kinds = [v.kind.node for v in (first, second) if isinstance(v, Instance)]
    if len(kinds) == 2 and kinds[0] is kinds[1]:
        return first
    forms = {v.form if isinstance(v, Model) else "" for v in (first, second)}
    moods = {_mood(first), _mood(second)}
    names = sorted(v.text if isinstance(v, Model) else v.kind.node.name for v in (first, second))
    form = forms.pop() if len(forms) == 1 else ""
    return Model(" or ".join(names), form, moods.pop() if len(moods) == 1 else None)


def _mood(value: Model | Instance) -> bool | None:
    if isinstance(value, Model):
        return value.moody
    return True if has_layers(value.kind) else False if is_plain(value) else None


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

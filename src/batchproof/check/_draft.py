"""A probe drafted from a function of the user's own, read as text and never imported.

The names of its parameters give the role of each, its steps the number of micro-batches in a
window, the file's model and data set the shape of a sample, and its criterion the kind of a target.
What the text does not show is refused in one line.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchproof._errors import ProbeError
from batchproof._files import write_file

_ROLES = {
    "model": ("model", "net", "network", "module"),
    "optimizer": ("optimizer", "optim", "opt"),
    "criterion": ("criterion", "crit", "loss_fn", "loss_func", "loss_function"),
    "batches": ("batches", "micro_batches", "window", "data", "dl", "iterator", "data_iter"),
    "device": ("device",),
    "epoch": ("epoch",),
    "accumulate": ("accumulate", "accumulation_steps", "accumulation", "accum_steps", "k"),
}
_GIVEN = {
    "model": "model",
    "optimizer": "optimizer",
    "batches": "batches",
    "device": 'torch.device("cpu")',
    "epoch": "0",
    "accumulate": "len(batches)",
}
_SHAPES = {"MNIST": (1, 28, 28), "CIFAR": (3, 32, 32)}
_WATCH = "watch the script that runs it: batchproof watch SCRIPT"
_OWN = "write build() and samples yourself: batchproof check --example"


def write_draft(place: str, path: str | Path = "probe.py") -> Path:
    """Write a probe for the function at a place, without importing its file.

    Args:
        place: FILE:LINE, a line of the function.
        path: the file to write.

    Returns:
        The file; `batchproof check FILE:probe` runs it.

    Raises:
        ProbeError: if the place cannot be read, the function cannot be run by a check, or the
            file exists.
    """
    target = Path(path)
    if target.suffix != ".py" or target.exists():
        reason = "exists" if target.exists() else "is not named FILE.py"
        raise ProbeError(f"{target} {reason}; choose another name: --from FILE:LINE NEW.py")
    text = _draft(*_parsed(place), target)
    try:
        return write_file(target, text)
    except OSError as error:
        raise ProbeError(f"{target} cannot be written: {error.strerror}.") from None


def _parsed(place: str) -> tuple[Path, int, ast.Module]:
    """Return the file, the line and the syntax tree that a place names."""
    name, _, line = place.rpartition(":")
    if not (name and line.isdecimal()):
        raise ProbeError(f"{place!r} is not a place; expected FILE:LINE, such as train.py:40.")
    file = Path(name)
    if not file.is_file():
        raise ProbeError(f"{file} is not a file; expected a Python file, such as train.py:40.")
    try:
        return file, int(line), ast.parse(file.read_bytes())
    except OSError as error:
        raise ProbeError(f"{file} cannot be read: {error.strerror}.") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProbeError(f"{file} is not a Python file: {error}.") from None


def _draft(file: Path, line: int, tree: ast.Module, target: Path) -> str:
    function = _function_at(tree, line, file)
    subject = f"{function.name} of {file}"
    _refuse_work_on_import(tree, file)
    roles = _roles(function, subject)
    step = "optimizer" in roles.values()
    window = _window(function, roles, subject) if step else None
    if not step and not any(isinstance(n, ast.Return) and n.value for n in ast.walk(function)):
        raise ProbeError(f"{subject} returns nothing, so there is no number to compare; {_WATCH}.")
    model = _model(tree, subject)
    criterion = _criterion(tree, function)
    source, names = _importable(file)
    own = sorted({function.name} | (model.names & {n.name for n in _classes(tree)}))
    arguments = _GIVEN | {"criterion": f"torch.nn.{criterion}()"}
    return _PAGE.format(
        subject=f"{function.name}() of {file.name}",
        target=target,
        folder=str(source),
        module=names,
        names=", ".join(own),
        model=model.text,
        kind="step" if step else "evaluate",
        built="model, torch.optim.SGD(model.parameters(), lr=0.1)" if step else "model",
        optimizer="optimizer, " if step else "",
        call=f"{function.name}({', '.join(f'{n}={arguments[r]}' for n, r in roles.items())})",
        sample=f"torch.randn({_listed(model.sample)}, generator=draw)",
        label=_label(criterion, model.classes),
        window=f", window={window}" if window else "",
    )


def _function_at(tree: ast.Module, line: int, file: Path) -> ast.FunctionDef:
    """Return the function of the file that holds a line."""
    for node in tree.body:
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, ast.FunctionDef):
                return node
            if isinstance(node, ast.ClassDef):
                raise ProbeError(
                    f"line {line} of {file} is in a method of {node.name}, which a check cannot "
                    f"call alone; {_WATCH}."
                )
    raise ProbeError(
        f"line {line} of {file} is not in a function, so it runs with the whole script; "
        f"watch it: batchproof watch {file}"
    )


def _refuse_work_on_import(tree: ast.Module, file: Path) -> None:
    """Refuse a file that trains when it is imported, for the probe imports it."""
    own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in tree.body:
        calls = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
        works = isinstance(node, ast.For | ast.While | ast.With) or (
            isinstance(node, ast.Expr | ast.Assign)
            and any(isinstance(f, ast.Name) and f.id in own for f in calls)
        )
        if works:
            raise ProbeError(
                f"{file} does its work when it is imported (line {node.lineno}); put that under "
                'if __name__ == "__main__": and draft again.'
            )


def _roles(function: ast.FunctionDef, subject: str) -> dict[str, str]:
    """Return the role of each parameter without a default, by its name."""
    plain = [*function.args.posonlyargs, *function.args.args]
    needs = [p.arg for p in plain[: len(plain) - len(function.args.defaults)]]
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    needs += [p.arg for p, default in pairs if default is None]
    roles = {name: _role(name) for name in needs}
    strangers = [name for name, role in roles.items() if not role]
    missing = [role for role in ("model", "batches") if role not in roles.values()]
    if strangers or missing:
        what = f"nothing says what {strangers[0]} is" if strangers else f"it takes no {missing[0]}"
        raise ProbeError(
            f"{subject} cannot be called by a check: {what}; expected parameters such as "
            "model, optimizer, loader, criterion, device."
        )
    return roles


def _role(name: str) -> str:
    if name.lower().endswith("loader"):
        return "batches"
    return next((role for role, names in _ROLES.items() if name.lower() in names), "")


def _window(function: ast.FunctionDef, roles: dict[str, str], subject: str) -> int | None:
    """Return the number of micro-batches in a step where the code fixes it, and None for all."""
    optimizer = next(name for name, role in roles.items() if role == "optimizer")
    for loop in (n for n in ast.walk(function) if isinstance(n, ast.For | ast.While)):
        for node in loop.body:
            for inner in ast.walk(node):
                if _calls(inner, optimizer, "step"):
                    return _every(node, roles, subject)
    return None


def _every(node: ast.stmt, roles: dict[str, str], subject: str) -> int | None:
    mods = [
        n.right for n in ast.walk(node) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mod)
    ]
    if not mods:
        raise ProbeError(
            f"{subject} steps after every batch, so no step is cut into micro-batches and "
            f"nothing depends on the cut; {_WATCH}."
        )
    every = mods[0]
    if isinstance(every, ast.Constant) and isinstance(every.value, int):
        return every.value
    if isinstance(every, ast.Name) and roles.get(every.id) == "accumulate":
        return None
    raise ProbeError(
        f"{subject} steps every {ast.unparse(every)} batches, and a check cannot set that; make it "
        "a parameter named accumulate."
    )


def _calls(node: ast.AST, name: str, method: str) -> bool:
    """Return whether a node is a call of a method of a name."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attribute)):
            return (owner, attribute) == (name, method)
    return False


@dataclass(frozen=True)
class _Model:
    """How a model is built.

    Attributes:
        text: the expression.
        names: the names in it.
        sample: the shape of one sample.
        classes: the outputs of its last linear layer.
    """

    text: str
    names: frozenset[str]
    sample: tuple[int, ...]
    classes: int


def _model(tree: ast.Module, subject: str) -> _Model:
    """Return the first model of the file that numbers alone build."""
    classes = {node.name: node for node in _classes(tree)}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    constructors = [n for n in calls if ast.unparse(n.func) in {*classes, "nn.Sequential"}]
    constructors += [ast.Call(ast.Name(name), [], []) for name in classes]
    for call in constructors:
        names = {n.id for n in ast.walk(call) if isinstance(n, ast.Name)}
        kind = classes.get(ast.unparse(call.func))
        layers = list(_linear(kind or call, _arguments(kind, call)))
        if names <= {*classes, "nn", "torch"} and layers and _fits(kind, call):
            sample = _sample(tree, kind or call, layers)
            if sample:
                return _Model(ast.unparse(call), frozenset(names), sample, layers[-1][1])
    raise ProbeError(f"no model for {subject} can be built and fed from its text alone; {_OWN}")


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    """Yield the modules of torch that a file defines."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).endswith("Module") for base in node.bases
        ):
            yield node


def _start(kind: ast.ClassDef | None) -> ast.arguments | None:
    for node in kind.body if kind else ():
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node.args
    return None


def _arguments(kind: ast.ClassDef | None, call: ast.Call) -> dict[str, ast.expr]:
    """Return the expressions that the parameters of a constructor are given."""
    start = _start(kind)
    if start is None:
        return {}
    names = [p.arg for p in start.args][1:]
    arguments = dict(zip(names[::-1], start.defaults[::-1], strict=False))
    arguments |= dict(zip(names, call.args, strict=False))
    return arguments | {k.arg: k.value for k in call.keywords if k.arg}


def _fits(kind: ast.ClassDef | None, call: ast.Call) -> bool:
    """Return whether a call gives a constructor everything that it needs."""
    start = _start(kind)
    return start is None or {p.arg for p in start.args[1:]} <= _arguments(kind, call).keys()


def _linear(node: ast.AST, arguments: dict[str, ast.expr]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of the linear layers inside a node whose sizes are numbers."""
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        if ast.unparse(call.func).endswith("Linear") and len(call.args) > 1:
            sizes = [arguments.get(ast.unparse(a), a) for a in call.args[:2]]
            numbers = [_whole(size) for size in sizes]
            if numbers[0] and numbers[1]:
                yield numbers[0], numbers[1]


def _whole(node: ast.expr) -> int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if type(value) is int else None


def _sample(tree: ast.Module, model: ast.AST, layers: list[tuple[int, int]]) -> tuple[int, ...]:
    """Return the shape of one sample: that of the data set, or what the first layer takes."""
    text = ast.unparse(tree)
    sizes = next((shape for name, shape in _SHAPES.items() if name in text), ())
    other = any(word in ast.unparse(model) for word in ("Conv", "Embedding", "LSTM", "GRU"))
    return sizes if sizes or other else (layers[0][0],)


def _criterion(tree: ast.Module, function: ast.FunctionDef) -> str:
    """Return the criterion of the function, or of the file: CrossEntropyLoss where none shows."""
    for node in (function, tree):
        text = ast.unparse(node)
        if "BCEWithLogits" in text or "binary_cross_entropy_with_logits" in text:
            return "BCEWithLogitsLoss"
        if "CrossEntropyLoss" in text or "cross_entropy" in text:
            return "CrossEntropyLoss"
        if "NLLLoss" in text or "nll_loss" in text:
            return "NLLLoss"
        if "MSELoss" in text or "mse_loss" in text:
            return "MSELoss"
    return "CrossEntropyLoss"


def _label(criterion: str, classes: int) -> str:
    if criterion == "MSELoss":
        return f"torch.randn({classes}, generator=draw)"
    if criterion == "BCEWithLogitsLoss":
        return f"torch.rand({classes}, generator=draw).round()"
    return f"torch.randint({classes}, (), generator=draw)"


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _importable(file: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and its name there."""
    folder, names = file.resolve().parent, [file.stem]
    while (folder / "__init__.py").is_file():
        folder, names = folder.parent, [folder.name, *names]
    if not all(name.isidentifier() for name in names):
        raise ProbeError(f"{file} cannot be imported under that name; rename it: train.py")
    return folder, ".".join(names)


_PAGE = '''"""A probe of {subject}, drafted from its text.

    batchproof check {target}:probe

The samples are random numbers of the right shape; put real ones in their place where the
values matter.
"""

import sys
from typing import Any

import torch
from torch import nn

from batchproof.check import Probe

sys.path.insert(0, {folder!r})
from {module} import {names}  # noqa: E402


def build() -> Any:
    """Make what is checked; the same each time, since seeds are set before."""
    model: nn.Module = {model}
    return {built}


def run(model: Any, {optimizer}batches: Any) -> float | None:
    """Call the function over these micro-batches; return the loss that it reports."""
    result = {call}
    result = result[0] if isinstance(result, tuple) else result
    return float(result) if isinstance(result, int | float | torch.Tensor) else None


def samples() -> list[Any]:
    """Draw eight samples."""
    draw = torch.Generator().manual_seed(0)
    return [({sample}, {label}) for _ in range(8)]


probe = Probe(run, samples, build, kind="{kind}"{window})
'''

"""The names of a file: its imports, functions, classes and command-line options."""

import ast
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from batchproof.audit._dimensions._lattice import Option, Value
from batchproof.audit._lines import number_lines

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

# loss.backward(), scaler.scale(loss).backward(), accelerator.backward(loss)
_PASSES = re.compile(
    r"([\w.]+(?:\[[\w'\"]+\])?)\)?\.backward\((?:\)|\w+_graph)"
    r"|(?:accelerator|fabric|engine|self)\.(?:manual_)?backward\(([\w.]+)[,)]"
)
# fcn.eval(), self.crnn.train(), torch.optim.Adam(resnet.parameters())
_MODULES = re.compile(r"([A-Za-z_][\w.]*)\.(?:eval\(\)|train\(\)|parameters\(\))")
_ROOTS = {
    "torch.nn.modules.loss": "torch.nn",
    "torch.utils.data.dataloader": "torch.utils.data",
    "torch.utils.data.dataset": "torch.utils.data",
    "torch.utils.data.sampler": "torch.utils.data",
    "torch.utils.data.distributed": "torch.utils.data",
    "monai.data.dataloader": "monai.data",
    "monai.data.thread_buffer": "monai.data",
    "torch.nn.utils.clip_grad": "torch.nn.utils",
    "torch.cuda.amp.grad_scaler": "torch.cuda.amp",
    "torch.autograd.grad_mode": "torch",
}


@dataclass(eq=False)
class Module:
    """A parsed file and what its names mean.

    Attributes:
        path: the file.
        tree: its syntax tree.
        imports: dotted names of what it imports, by the name in this file.
        stars: the modules of which it imports every name, the last first.
        functions: its own top-level functions, by name.
        classes: its own classes, by name.
        options: options of its command-line parsers, by attribute name.
        settings: the constants that its own statements give to names, attributes and classes.
        variables: the values of its global names.
        depths: how many loops were around the last plain assignment of each.
        lines: its text.
        forms: what calling its modules gives, by class.
        telling: for each function asked for, whether it holds a word that a rule looks for.
        handed: loaders that a Trainer is given for a module of Lightning, by its class and phase.
    """

    path: Path
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    functions: dict[str, FunctionNode] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    settings: dict[str, Option] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    forms: dict[ast.AST, Value] = field(default_factory=dict)
    telling: dict[ast.AST, bool] = field(default_factory=dict)
    handed: dict[tuple[ast.AST, str], Value] = field(default_factory=dict)

    @cached_property
    def passes(self) -> dict[str, list[int]]:
        """Return the lines where a name is back-propagated as it is, so that it holds a loss."""
        lines: dict[str, list[int]] = {}
        for number, text in enumerate(self.lines, 1):
            if "backward(" in text:
                for pair in _PASSES.findall(text):
                    lines.setdefault(pair[0] or pair[1], []).append(number)
        return lines

    @cached_property
    def modules(self) -> frozenset[str]:
        """Return the names of what the code uses as only modules of torch can be used."""
        return frozenset(name for text in self.lines for name in _MODULES.findall(text))


# what a cell, a fragment or a file of `import *` means by these names
USUAL = {"np": "numpy", "torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional"}


def dotted(node: ast.AST) -> str:
    """Return the text of a plain name, attribute or constant subscript, or ""."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(f".{node.attr}")
            node = node.value
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            parts.append(f"[{node.slice.value!r}]")
            node = node.value
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
            parts.append(f"[{node.slice.id}]")
            node = node.value
        elif isinstance(node, ast.Name):
            parts.append(node.id)
            return "".join(reversed(parts))
        else:
            return ""


# methods that show what they are given, and keep numbers of it
REPORTS = {
    "info", "debug", "warning", "log", "add_scalar", "add_scalars", "set_postfix",
    "set_description", "write", "log_metrics", "print", "set_postfix_str", "log_metric", "log_dict",
    "log_scalar", "log_scalars", "log_value", "scalar_summary", "write_scalar", "write_scalars",
    "write_event", "logkv", "log_row",
}  # fmt: skip

_PRINTS = re.compile(r"(print|log)\w*_(rank_?(0|zero)|main|master)$|rank_?(0|zero)_(print|log)$")


def prints_for_first_rank(name: str) -> bool:
    """Return whether a function of that name prints what it is given on the first rank alone."""
    return bool(_PRINTS.search(name))


@lru_cache(maxsize=16)
def assigns_in(scope: ast.AST) -> dict[str, list[ast.Assign | ast.AugAssign]]:
    """Return the assignments in a function, or a file, by the name assigned."""
    assigns: dict[str, list[ast.Assign | ast.AugAssign]] = {}
    for node in ast.walk(scope):
        match node:
            case ast.Assign([ast.Name(name)]) | ast.AugAssign(ast.Name(name)):
                assigns.setdefault(name, []).append(node)
    return assigns


def words_of(text: str) -> str:
    """Return a name in lower case with its words apart: valLoader is "val loader"."""
    words = "".join(f" {c}" if c.isupper() else c for c in text)
    return words.lower().replace("_", " ").replace(".", " ")


# a function without one of these neither trains, evaluates, nor makes what does
_TELLING = re.compile(
    r"loss|criterion|backward|loader|\.step\(|zero_grad|entropy|nll|\.eval\(|best|optim|sampler"
    r"|Dataset|accura|correct|mean|metric|reduce|gather|train|Softmax|dice|iou|psnr|score"
    r"|Linear\(|def forward\(|_step\(|(?:epoch|validation|test)_end\(|evaluate\(|validate\("
    r"|(model|net)\(",
    re.IGNORECASE,
)


def tells(module: Module, node: ast.AST) -> bool:
    """Return whether a function holds a word that a rule looks for, in its code or its comments."""
    telling = module.telling.get(node)
    if telling is None:
        first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
        text = "\n".join(module.lines[first - 1 : last])
        telling = module.telling[node] = not module.lines or bool(_TELLING.search(text))
    return telling


def read_module(path: Path, tree: ast.Module, text: str = "") -> Module:
    """Return the names of a file.

    Args:
        path: the file.
        tree: its syntax tree.
        text: its text.
    """
    number_lines(tree, path)
    module = Module(path, tree, lines=text.split("\n") if text else [])
    waiting: list[ast.stmt] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_import(module, node)
        elif isinstance(node, FunctionNode):
            module.functions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            module.classes.setdefault(node.name, node)
            for inner in node.body:
                _add_setting(module, inner, f"{node.name}.")
            for body in methods_of(node).values():
                waiting += [n for n in body.body if isinstance(n, ast.Import | ast.ImportFrom)]
            continue
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            _add_option(module, node.value)
        _add_setting(module, node)
        waiting += reversed(_inner(node))
    return module


def _inner(node: ast.stmt) -> list[ast.stmt]:
    """Return the statements directly inside a statement."""
    inner: list[ast.stmt] = []
    for name in ("body", "orelse", "finalbody"):
        inner += getattr(node, name, [])
    for handler in getattr(node, "handlers", []):
        inner += handler.body
    return inner


def _add_import(module: Module, node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.name if alias.asname else alias.name.split(".")[0]
            module.imports[alias.asname or name] = name
        return
    origin = "." * node.level + (node.module or "")
    origin = _ROOTS.get(origin, origin)
    if node.names[0].name == "*":
        module.stars.insert(0, origin)
        return
    for alias in node.names:
        joint = "" if origin.endswith(".") or not origin else "."
        module.imports[alias.asname or alias.name] = f"{origin}{joint}{alias.name}"


def _add_option(module: Module, node: ast.Call) -> None:
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"):
        return
    names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    keywords = {k.arg: k.value for k in node.keywords if k.arg}
    dest = keywords.get("dest")
    if isinstance(dest, ast.Constant):
        names = [str(dest.value)]
    long = [n for n in names if n.startswith("--")] or names
    default = keywords.get("default")
    value = default.value if isinstance(default, ast.Constant) else None
    for name in long[:1]:
        key = name.lstrip("-").replace("-", "_")
        module.options[key] = Option(key, value)


def _add_setting(module: Module, node: ast.stmt, owner: str = "") -> None:
    """Note the constant that an assignment gives to a name, without it where it is set again."""
    match node:
        case ast.Assign([target], value) | ast.AnnAssign(target, _, value) if dotted(target):
            name = f"{owner}{dotted(target)}"
        case _:
            return
    constant = value.value if isinstance(value, ast.Constant) else None
    if name in module.settings:
        module.settings[name] = Option(name)
    elif isinstance(constant, int | float | str):
        module.settings[name] = Option(name, constant)


def methods_of(node: ast.ClassDef) -> dict[str, FunctionNode]:
    """Return the methods of a class by name."""
    return {n.name: n for n in node.body if isinstance(n, FunctionNode)}

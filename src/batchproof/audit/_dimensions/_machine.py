"""The state of an interpretation: its place, its events, the effort that is left."""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from batchproof.audit._dimensions._lattice import UNKNOWN, Constant, Instance, Scope, Several, Value
from batchproof.audit._dimensions._names import Module, dotted, read_module
from batchproof.audit._dimensions._trace import Condition, Event, Loop, Trace
from batchproof.audit._project import Project

EFFORT = 40_000  # expressions that are evaluated for one file
DEEPEST = 120  # nested expressions and statements
CALLS = 7  # calls inside calls that are followed


class ExhaustedError(Exception):
    """The effort for one file is spent; the events until then are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Fork:
    """The values that the two branches of a test left in names and attributes of self.

    Attributes:
        start: the line where its statement begins.
        end: the line where it ends.
        values: for each name: after the branch that holds, after the other, and of what both know.
    """

    start: int
    end: int
    values: dict[str, tuple[Value, Value, Value]]


@dataclass(eq=False)
class Frame:
    """The names of one call.

    Attributes:
        module: the file of the function.
        name: the function, "" for a file's own statements.
        names: the values of its names.
        depths: how many loops were around the last plain assignment of a name.
        owner: the object whose method it is.
        results: what it returns.
        parts: its names that are attributes or items of others.
        tests: the tests that its names hold.
        around: the names of the function around.
        forks: what the two branches of a test left, by the test.
        outer: where the names are that a `global` or `nonlocal` statement declares.
    """

    module: Module
    name: str = ""
    names: dict[str, Value] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    owner: Instance | None = None
    results: list[Value] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)
    tests: dict[str, ast.expr] = field(default_factory=dict)
    around: Scope | None = None
    forks: dict[str, "Fork"] = field(default_factory=dict)
    outer: dict[str, Scope] = field(default_factory=dict)

    def declare(self, name: str, scope: Scope) -> None:
        """Declare a name as one of an outer scope."""
        self.outer[name] = scope
        self.take()

    def take(self) -> None:
        """Take the values of names from the outer scopes that they are declared as names of."""
        for name, scope in self.outer.items():
            if name in scope.names:
                self.names[name] = scope.names[name]
                self.depths[name] = scope.depths.get(name, 0)

    def give_back(self) -> None:
        """Give the names that are declared as those of outer scopes their new values there."""
        for name, scope in self.outer.items():
            if name in self.names:
                scope.names[name] = self.names[name]
                scope.depths[name] = self.depths.get(name, 0)

    def depth(self, name: str) -> int:
        """Return how many loops were around the last plain assignment of a name or attribute."""
        owner, depths = self._owner_of(name), self._depths(name)
        born = owner.born if owner is not None else 0
        return depths.get(name, depths.get(name.partition("[")[0], born))

    def begin(self, name: str, depth: int) -> None:
        """Note that a name or attribute is assigned inside so many loops."""
        self._depths(name)[name] = depth

    def path(self, node: ast.AST) -> str:
        """Return the text of a name, attribute or item, with the key that a name holds."""
        match node:
            case ast.Subscript(whole, ast.Name(key)):
                value = self.names.get(key)
                if isinstance(value, Constant) and isinstance(value.value, str | int):
                    outer = self.path(whole)
                    return f"{outer}[{value.value!r}]" if outer else ""
        return dotted(node)

    def read(self, name: str) -> Value | None:
        """Return the value of a name or of an attribute of self, where it was set."""
        owner = self._owner_of(name)
        if owner is not None:
            return owner.attributes.get(name.removeprefix("self."))
        return self.names.get(name)

    def write(self, name: str, value: Value) -> None:
        """Set a name, an attribute of self or an item, and forget what was known of its parts."""
        whole, _, key = name.removesuffix("]").rpartition("[")
        outer = self.read(whole) if whole else None
        if isinstance(outer, Several) and name.endswith("]"):
            self.write(whole, _with_item(outer, key, value))
        for part in [k for k in self.parts if k.startswith((f"{name}.", f"{name}["))]:
            self.names.pop(part, None)
            self.parts.discard(part)
        owner, attribute = self._owner_of(name), name.removeprefix("self.")
        if owner is not None and not {".", "["} & set(attribute):
            owner.attributes[attribute] = value
            return
        if "." in name or "[" in name:
            self.parts.add(name)
        self.names[name] = value

    def _depths(self, name: str) -> dict[str, int]:
        owner = self._owner_of(name)
        return self.depths if owner is None else owner.depths

    def _owner_of(self, name: str) -> Instance | None:
        """Return the object of which a name is an attribute or part, None for other names."""
        return self.owner if name.startswith("self.") else None


def _with_item(several: Several, key: str, value: Value) -> Several:
    """Return a tuple or dict with another value in a place, as the code writes the key."""
    if several.items and not several.names:
        place = int(key) if key.isdigit() and int(key) < len(several.items) else None
        items = [value if i == place else item for i, item in enumerate(several.items)]
        return Several(tuple(items))
    code = repr(key.strip("'\""))
    members = dict(zip(map(repr, several.names), several.items, strict=False)) | {code: value}
    names = {repr(name): name for name in several.names} | {code: key.strip("'\"")}
    return Several(tuple(members.values()), tuple(names[k] for k in members))


class Machine:
    """An interpretation of one file from one entry.

    Args:
        trace: where its events are written.
        project: what follows imports.
        effort: how many expressions may be evaluated.
    """

    def __init__(self, trace: Trace, project: Project | None, effort: int = EFFORT) -> None:
        self.trace = trace
        self.project = project
        self.effort = effort
        self.loops: list[Loop] = []
        self.conditions: list[Condition] = []
        self.calls: list[ast.AST] = []
        self.running: list[ast.AST] = []
        self.frames: list[Frame] = []
        self.entered_bodies: set[ast.AST] = set()
        self.grad: bool | None = True
        self.depth = 0
        self.statement: ast.expr | None = None  # the last one that is a statement by itself
        self.files: dict[str, Module | None] = {}
        self.meters: dict[int, str] = {}  # the key of the meter that an event updates
        self.evaluate: Callable[[ast.expr | None, Frame], Value] = lambda _node, _frame: UNKNOWN
        self.execute: Callable[[list[ast.stmt], Frame], str] = lambda _body, _frame: ""

    def spend(self) -> None:
        """Count one evaluation.

        Raises:
            ExhaustedError: if the effort is spent.
        """
        self.effort -= 1
        if self.effort < 0:
            raise ExhaustedError

    def emit(
        self,
        kind: str,
        node: ast.AST,
        frame: Frame,
        value: Value = UNKNOWN,
        other: Value = UNKNOWN,
        text: str = "",
    ) -> None:
        """Record an event."""
        self.trace.events.append(
            Event(
                kind,
                node,
                len(self.trace.events),
                tuple(self.loops),
                tuple(self.conditions),
                self.grad,
                frame.module,
                frame.name,
                value,
                other,
                text,
                tuple(self.calls),
            )
        )

    @contextmanager
    def under(self, condition: Condition) -> Iterator[None]:
        """Set a condition for a block."""
        self.conditions.append(condition)
        try:
            yield
        finally:
            self.conditions.pop()

    @contextmanager
    def in_loop(self, loop: Loop) -> Iterator[None]:
        """Enter a loop for a block."""
        loop.outer = len(self.conditions)
        self.trace.loops[loop.key] = loop
        self.loops.append(loop)
        try:
            yield
        finally:
            self.loops.pop()

    def loop_key(self, node: ast.AST) -> str:
        """Return the key of a loop that begins here."""
        return (
            f"{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)}#{len(self.trace.loops)}"
        )

    @property
    def batch_loop(self) -> str:
        """Return the key of the innermost loop over batches, or ""."""
        return next((loop.key for loop in reversed(self.loops) if loop.loader is not None), "")

    def file(self, name: str, module: Module) -> Module | None:
        """Return the file of the same project that a dotted name leads to.

        Args:
            name: as imports resolve it.
            module: the file that imports it.
        """
        if self.project is None or name.startswith(("torch", "numpy", "os", "sys")):
            return None
        key = f"{module.path}\n{name}"
        if key not in self.files:
            source = self.project.module(name, module.path)
            path = None if source is None else f"{source.path}"
            if source is None or path is None:
                self.files[key] = None
            else:
                if path not in self.files:
                    self.files[path] = read_module(source.path, source.tree, source.text)
                self.files[key] = self.files[path]
        return self.files[key]

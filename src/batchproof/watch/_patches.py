"""Functions put in place of torch's while a run is watched, and removed after it."""

import sys
from collections.abc import Callable
from functools import wraps
from threading import local
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from batchproof.watch._bodies import Around, Body, Caller

LINES = 64


class Patches:
    """All patches of a run.

    Attributes:
        undo: removes each patch, in reverse order.
        troubles: what failed in a listener, one line each; it never reaches the script.
    """

    def __init__(self) -> None:
        self.undo: list[Callable[[], None]] = []
        self.troubles: list[str] = []
        self._inside = local()

    def replace(self, function: Any, around: Around) -> None:
        """Run `around` in place of a function of torch."""
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        if not isinstance(function, FunctionType):
            return
        try:
            body = Body(function, around)
        except TypeError as error:
            self.troubles.append(str(error))
            return
        body.replace(torch.compiler.is_compiling)
        self.undo.append(body.restore)

    def listen(self, function: Any, saw: Callable[[tuple[Any, ...], Any], None]) -> None:
        """Call `saw` with the arguments and the result of every outer call of a function."""
        inside = self._inside

        def around(original: Caller, arguments: tuple[Any, ...]) -> Any:
            if getattr(inside, "deep", False):
                return original(*arguments)
            inside.deep = True
            try:
                out = original(*arguments)
            finally:
                inside.deep = False
            try:  # not by way of `safely`: this runs with every loss
                saw(arguments, out)
            except Exception as error:
                self._note(saw, error)
            return out

        self.replace(function, around)

    def call_before(self, function: Any, do: Callable[[], None]) -> None:
        """Call `do` before every call of a function."""

        def around(original: Caller, arguments: tuple[Any, ...]) -> Any:
            self.safely(do)
            return original(*arguments)

        self.replace(function, around)

    def listen_to_state_dicts(self, saw: Callable[[Any], None]) -> None:
        """Call `saw` with every state_dict that is taken."""
        original = nn.Module.state_dict
        depth = local()

        @wraps(original)
        def state_dict(module: nn.Module, *args: Any, **options: Any) -> Any:
            outer = not getattr(depth, "deep", False)
            depth.deep = True
            try:
                state = original(module, *args, **options)
            finally:
                depth.deep = not outer
            if outer:
                self.safely(saw, state)
            return state

        def restore() -> None:
            if nn.Module.state_dict is state_dict:
                nn.Module.state_dict = original  # type: ignore[method-assign]

        nn.Module.state_dict = state_dict  # type: ignore[method-assign, assignment]
        self.undo.append(restore)

    def listen_to_rows(self, saw: Callable[[str, torch.Tensor, int, torch.Tensor], None]) -> None:
        """Call `saw` with what log_softmax and logsumexp over one axis were given and returned."""
        for name in ("log_softmax", "logsumexp"):
            for owner in (torch, torch.special, torch.Tensor):
                self._wrap(owner, name, saw)

    def _wrap(self, owner: Any, name: str, saw: Callable[..., None]) -> None:
        original = getattr(owner, name)
        own = name in vars(owner)
        compiling, inside = torch.compiler.is_compiling, self._inside

        def rows(logits: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            out = original(logits, *arguments, **options)
            if compiling() or getattr(inside, "deep", False):
                return out
            axis = arguments[0] if arguments else options.get("dim")
            if isinstance(axis, int):
                self.safely(saw, name, logits, axis, out)
            return out

        rows.__name__ = rows.__qualname__ = name
        setattr(owner, name, rows)
        elsewhere = _names_of(original) if owner is not torch.Tensor else []
        for module, other in elsewhere:
            module[other] = rows

        def restore() -> None:
            for module, other in elsewhere:
                if module.get(other) is rows:
                    module[other] = original
            if not own:
                delattr(owner, name)
            elif getattr(owner, name) is rows:
                setattr(owner, name, original)

        self.undo.append(restore)

    def guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        """Return a hook whose errors do not reach the script."""

        def run(*arguments: Any) -> None:
            try:
                hook(*arguments)
            except Exception as error:
                self._note(hook, error)

        return run

    def safely(self, do: Callable[..., Any], *arguments: Any) -> None:
        """Run code of our own; its errors must not reach the script."""
        try:
            do(*arguments)
        except Exception as error:
            self._note(do, error)

    def _note(self, do: Callable[..., Any], error: Exception) -> None:
        line = f"{getattr(do, '__name__', do)}: {type(error).__name__}: {error}"
        if line not in self.troubles and len(self.troubles) < LINES:
            self.troubles.append(line)

    def remove(self) -> None:
        """Remove every patch."""
        for undo in reversed(self.undo):
            undo()
        self.undo = []


def _names_of(function: Any) -> list[tuple[dict[str, Any], str]]:
    """Return the names of other modules than torch's that were bound to a function before."""
    modules = [m for name, m in sys.modules.copy().items() if name.partition(".")[0] != "torch"]
    spaces = [vars(module) for module in modules if type(module) is ModuleType]
    return [
        (space, name)
        for space in spaces
        for name, value in space.copy().items()
        if value is function
    ]

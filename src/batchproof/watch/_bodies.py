"""Python functions of torch whose bodies are replaced while a run is watched.

The function object stays the same, so every name under which a program holds it leads here: also
one imported long before. No mode of torch is active, so the fast paths that torch leaves
under a mode are taken as usual, to the same bits. While torch.compile traces, and where
torch.jit reads the source, a function is what it was.
"""

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

Caller = Callable[..., Any]
Around = Callable[[Caller, tuple[Any, ...]], Any]

_SOURCE = """\
def {name}({signature}):
    if __batchproof_compiling__():
        return __batchproof_{key}__[0]({arguments})
    return __batchproof_{key}__[1](__batchproof_{key}__[0], ({positional}))
"""


def _replacement(code: CodeType, key: str) -> CodeType:
    """Return a body of the same signature that calls what is stored under the key."""
    names = code.co_varnames[: code.co_argcount]
    only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    every = [*names, *only]
    source = _SOURCE.format(
        name=code.co_name,
        key=key,
        signature=", ".join([*names, "*", *only] if only else names),
        arguments=", ".join([*names, *(f"{name}={name}" for name in only)]),
        positional="".join(f"{name}, " for name in every),
    )
    space: dict[str, Any] = {}
    exec(compile(source, code.co_filename, "exec"), space)
    body: CodeType = space[code.co_name].__code__
    # tools that show a function's source find the one that it was written with
    return body.replace(co_firstlineno=code.co_firstlineno)


class Body:
    """The body of one function, and what runs in its place.

    Args:
        function: a plain function, without a closure and without *args.
        around: called with the original and all its arguments, in the order of the signature;
            keyword-only arguments come last. It returns what the function returns.
    """

    def __init__(self, function: FunctionType, around: Around) -> None:
        code = function.__code__
        if code.co_freevars or code.co_flags & 0x0C:
            message = f"{function.__name__} has a closure or takes *args; its body stays."
            raise TypeError(message)
        self.function, self.code, self.around = function, code, around
        only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.names = (*code.co_varnames[: code.co_argcount], *only)
        original = FunctionType(code, function.__globals__, function.__name__)
        original.__defaults__ = function.__defaults__
        original.__kwdefaults__ = function.__kwdefaults__
        self.original: Caller = _by_position(original, code.co_argcount, only)
        self.key = f"{function.__module__}.{function.__qualname__}".replace(".", "_")

    def replace(self, compiling: Callable[[], bool]) -> None:
        """Let the function run `around`."""
        space = self.function.__globals__
        space["__batchproof_compiling__"] = compiling
        space[f"__batchproof_{self.key}__"] = (self.original, self.around)
        self.function.__code__ = _replacement(self.code, self.key)

    def restore(self) -> None:
        """Give the function its own body."""
        # the names stay: another thread may be between the two lines of the body
        self.function.__code__ = self.code


def _by_position(function: Caller, count: int, only: tuple[str, ...]) -> Caller:
    """Return the function with its keyword-only arguments after the others."""
    if not only:
        return function

    def call(*values: Any, **options: Any) -> Any:
        options.update(zip(only, values[count:], strict=False))
        return function(*values[:count], **options)

    return call

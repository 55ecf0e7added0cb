"""Random generators, global and those that objects hold: seeded, saved and restored."""

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
# the most objects searched for generators, and the most items of one list or mapping
_MOST, _MOST_OF_ONE = 100_000, 10_000
_LEAVES = (torch.Tensor, np.ndarray, str, bytes, int, float, complex, ModuleType, type(None))
# packages whose functions and classes draw from the generators that capture() covers
_LIBRARIES = {"torch", "numpy", "batchproof", "random", "logging", "threading", "multiprocessing"}


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> dict[str, Any]:
    """Return the state of every global generator, in types that load with weights_only=True."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),
        "numpy": _plain(numpy),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore(state: Mapping[str, Any]) -> None:
    """Restore every global generator; those of devices that this machine lacks are left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(_array(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let the body draw at random, and restore every global generator."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


def generators_in(*roots: Any) -> list[Generator]:
    """Return the random generators that objects hold, each once, in the order they are reached.

    Attributes, lists and mappings are looked into, and of functions and methods what they close
    over and the globals that they name. The global generators are left out.
    """
    # those that the modules' own functions draw from
    everywhere = (random.random.__self__, np.random.rand.__self__, torch.default_generator)  # type: ignore[attr-defined]
    found_ids = {id(each) for each in everywhere}
    generators: list[Generator] = []
    waiting = deque(roots)
    # what was looked into is kept, for the id of an object that is gone may be another's
    alive: list[Any] = []
    while waiting and len(alive) < _MOST:
        each = waiting.popleft()
        if isinstance(each, _LEAVES) or id(each) in found_ids:
            continue
        found_ids.add(id(each))
        alive.append(each)
        if isinstance(each, Generator):
            generators.append(each)
        else:
            waiting += _parts_of(each)
    return generators


def states_of(generators: Sequence[Generator]) -> list[Any]:
    """Return the states of generators, in types that load with weights_only=True."""
    return [_state_of(generator) for generator in generators]


def restore_states(generators: Sequence[Generator], states: Sequence[Any]) -> None:
    """Restore generators to their states, in order."""
    for generator, state in zip(generators, states, strict=False):
        if isinstance(generator, torch.Generator):
            generator.set_state(state)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = _array(state)
        elif isinstance(generator, np.random.RandomState):
            generator.set_state(_array(state))
        elif state is not None:
            version, words, gauss = state
            generator.setstate((version, tuple(words.tolist()), gauss))


def _state_of(generator: Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _plain(dict(generator.bit_generator.state))
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    if isinstance(generator, random.SystemRandom):
        return None
    version, words, gauss = generator.getstate()
    return version, torch.tensor(words, dtype=torch.int64), gauss


def _parts_of(each: Any) -> Iterable[Any]:
    """Return the objects that an object holds or refers to, in which generators may be."""
    for kinds, parts in _PARTS:
        if isinstance(each, kinds):
            return parts(each)
    return _attributes(each)


def _attributes(each: Any) -> list[Any]:
    """Return an instance's attributes, and those of its classes that are not a library's."""
    if _of_library(type(each)):
        return list(getattr(each, "__dict__", {}).values())
    classes = [kind for kind in type(each).__mro__ if kind is not object and not _of_library(kind)]
    slots = [name for kind in classes for name in _names(kind.__dict__.get("__slots__", ()))]
    in_slots = [getattr(each, name, None) for name in slots if not name.startswith("__")]
    shared = [value for kind in classes for value in vars(kind).values()]
    return [*getattr(each, "__dict__", {}).values(), *in_slots, *shared]


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _of_function(function: FunctionType) -> list[Any]:
    """Return a function's closure, its defaults, and the globals that it names."""
    cells = [_content(cell) for cell in function.__closure__ or ()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if _of_library(function):
        return cells + defaults
    globals_used = [function.__globals__.get(name) for name in _globals_of(function.__code__)]
    return [*cells, *defaults, *globals_used]


def _globals_of(code: CodeType) -> list[str]:
    inner = [
        name for part in code.co_consts if isinstance(part, CodeType) for name in _globals_of(part)
    ]
    return [*code.co_names, *inner]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None


def _of_library(defined: Any) -> bool:
    return str(getattr(defined, "__module__", "")).partition(".")[0] in _LIBRARIES


_PARTS: Sequence[tuple[Any, Callable[[Any], Iterable[Any]]]] = (
    (type, lambda _: ()),
    (dict, lambda each: islice(each.values(), _MOST_OF_ONE)),
    ((list, tuple), lambda each: each[:_MOST_OF_ONE]),
    (FunctionType, _of_function),
    (MethodType, lambda each: (each.__self__, each.__func__)),
    (BuiltinMethodType, lambda each: (each.__self__,)),
    ((staticmethod, classmethod), lambda each: (each.__func__,)),
    (property, lambda each: (each.fget,)),
    (partial, lambda each: (each.func, each.args, each.keywords)),
)


@contextmanager
def deterministic(*, enabled: bool) -> Iterator[None]:
    """Refuse operations whose result varies from run to run, if enabled."""
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # cuBLAS reads it once, when it starts
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def _plain(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, np.ndarray):
        words = torch.from_numpy(values.astype(np.int64))
        return (
            {"words": words}
            if values.dtype == np.uint32
            else {"words": words, "dtype": values.dtype.name}
        )
    return values.item() if isinstance(values, np.generic) else values


def _array(values: Any) -> Any:
    if isinstance(values, Mapping):
        if "words" in values:
            return values["words"].numpy().astype(values.get("dtype", "uint32"))
        return {key: _array(value) for key, value in values.items()}
    return values

"""Probes: the arguments of a check as one object that the command line can import."""

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import default_collate

from batchproof._errors import ProbeError
from batchproof.check._measure._cuts import Chosen, Shares
from batchproof.check._measure._run import one_line
from batchproof.check._report._many import Heads, check_heads
from batchproof.check._report._report import Report
from batchproof.check._report._results import Diagnosis
from batchproof.check._step import Wrap, check_evaluate, check_step
from batchproof.mistakes import Remedy


@dataclass(frozen=True)
class Probe:
    """The arguments of check_step, or of check_evaluate, kept for later.

    Attributes:
        run: the user's own code: one step, or one evaluation.
        samples: a handful of samples, or a callable that returns them.
        build: makes the model, and the optimizer for a step.
        collate: makes a batch of a list of samples.
        kind: "step" or "evaluate".
        cuts: as for check_step.
        ranks: numbers of processes to try.
        dtype: floating-point type.
        pad: widens a batch on the right.
        mask: makes a sample with nothing that counts.
        window: micro-batches per window, for loops that take a loader.
        shards: for an evaluation over ranks: "given", "own", or a function, as for check_evaluate.
        wrap: how the model is wrapped over ranks; "ddp" for a step unless said otherwise.
        watch: for a step, what it moves beside the model, as for check_step.
        timeout: seconds that a run over ranks may take.
        remedies: of a mistake in the user's framework, by name, in place of the
            catalogue's remedy for a loop of one's own.
    """

    run: Callable[..., Any]
    samples: Sequence[Any] | Callable[[], Sequence[Any]]
    build: Callable[[], Any]
    collate: Callable[[list[Any]], Any] = default_collate
    kind: Literal["step", "evaluate"] = "step"
    cuts: Chosen = "standard"
    ranks: Sequence[int] = (1,)
    dtype: torch.dtype = torch.float64
    pad: Callable[[Any], Any] | None = None
    mask: Callable[[Any], Any] | None = None
    window: int | None = None
    shards: Literal["given", "own"] | Shares = "given"
    wrap: Wrap | Literal["auto"] = "auto"
    watch: Callable[[Any], Any] | None = None
    timeout: float = 60.0
    remedies: Mapping[str, Remedy] = field(default_factory=dict)

    def check(self, *, name: str = "") -> Report:
        """Run the check.

        Args:
            name: what is checked, for the report.

        Raises:
            ProbeError: if it cannot be run.
        """
        if self.kind not in {"step", "evaluate"}:
            raise ProbeError(f"kind is {self.kind!r}; expected 'step' or 'evaluate'.")
        samples = self.given()
        step = self.kind == "step"
        wrap: Any = ("ddp" if step else None) if self.wrap == "auto" else self.wrap
        settings: dict[str, Any] = {
            "build": self.build,
            "collate": self.collate,
            "cuts": self.cuts,
            "ranks": self.ranks,
            "dtype": self.dtype,
            "pad": self.pad,
            "mask": self.mask,
            "wrap": wrap,
            "timeout": self.timeout,
            "name": name,
        }
        if step:
            report = check_step(self.run, samples, window=self.window, watch=self.watch, **settings)
        else:
            report = check_evaluate(self.run, samples, shards=self.shards, **settings)
        return replace(report, diagnoses=tuple(self._remedied(one) for one in report.diagnoses))

    def _remedied(self, diagnosis: Diagnosis) -> Diagnosis:
        remedy = self.remedies.get(diagnosis.name)
        if remedy is None:
            return diagnosis
        return replace(diagnosis, remedy=remedy.sentence, code=remedy.code)

    def given(self) -> list[Any]:
        """Return the samples, asked for where a callable was given.

        Raises:
            ProbeError: if there are none.
        """
        try:
            return list(self.samples() if callable(self.samples) else self.samples)
        except (Exception, SystemExit) as error:
            raise ProbeError(
                f"samples cannot be made: {one_line(error)}. Give a list of samples, or a function "
                "without arguments that returns one."
            ) from error


def load_probe(spec: str) -> Probe | Mapping[str, Probe]:
    """Import a probe by MODULE:NAME or FILE.py:NAME; the working directory is searched first.

    Args:
        spec: where the probe is.

    Returns:
        The probe, or several by name.

    Raises:
        ProbeError: if it cannot be imported, or is not a probe.
    """
    module_name, colon, name = spec.rpartition(":")
    if not colon or not module_name or not name:
        raise ProbeError(
            f"{spec!r} does not name a probe; expected MODULE:NAME, such as probes:train_step. "
            "batchproof check --example writes a file to start from."
        )
    _refuse_what_takes_arguments(module_name, name)
    module = _module(module_name)
    if not hasattr(module, name):
        probes = ", ".join(k for k, v in vars(module).items() if isinstance(v, Probe)) or "none"
        raise ProbeError(f"{module_name} has no {name!r}; probes in it: {probes}.")
    value = getattr(module, name)
    if callable(value) and not isinstance(value, Probe):
        needs = _needed(value)
        if needs:
            raise ProbeError(_no_probe(spec, needs))
        try:
            value = value()
        except (Exception, SystemExit) as error:
            raise ProbeError(f"{spec}() failed: {one_line(error)}.") from error
    if isinstance(value, Probe):
        return value
    if isinstance(value, Mapping) and all(isinstance(v, Probe) for v in value.values()):
        return dict(value)
    raise ProbeError(
        f"{spec} is {type(value).__name__}; expected a batchproof.check.Probe, a callable "
        "that returns one, or a mapping of names to Probes."
    )


def _refuse_what_takes_arguments(module: str, name: str) -> None:
    """Refuse a function that takes arguments before its file is run: a script trains for long.

    Raises:
        ProbeError: if the file says that the name is such a function.
    """
    source = _source(module)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # the import reports the error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name and not node.decorator_list:
            spec = node.args
            optional = len(spec.defaults)
            positional = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
            pairs = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
            needs = positional[: len(positional) - optional]
            needs += [arg.arg for arg, default in pairs if default is None]
            if needs:
                raise ProbeError(_no_probe(f"{module}:{name}", needs))


def _no_probe(spec: str, needs: Sequence[str]) -> str:
    return (
        f"{spec} is a function that takes {', '.join(needs)}, not a probe; expected a "
        "batchproof.check.Probe, or a function without arguments that returns one. "
        "batchproof check --example writes a file to start from."
    )


def _needed(value: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments that a callable cannot be called without."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    free = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [p.name for p in parameters if p.default is p.empty and p.kind not in free]


def _source(module: str) -> str:
    """Return the text of the file that a module would be read from; "" where there is none."""
    path = Path(module) if module.endswith(".py") else Path(*module.split(".")).with_suffix(".py")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _module(name: str) -> Any:
    here = str(Path.cwd())
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise ProbeError(f"there is no file {name!r}; expected FILE.py:NAME or MODULE:NAME.")
        here, name = str(path.resolve().parent), path.stem
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ProbeError(
            f"module {name!r} cannot be imported: {one_line(error)}. "
            f"Looked in {here} and on the Python path."
        ) from error


def run_probe(
    spec: str,
    *,
    cuts: str | None = None,
    ranks: str | Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
) -> Report | Heads:
    """Import a probe and run its check, as the command line does.

    Args:
        spec: MODULE:NAME or FILE.py:NAME.
        cuts: "standard" or names separated by commas; None for the probe's own.
        ranks: "1,2" or numbers; None for the probe's own.
        dtype: "float64", "float32", ...; None for the probe's own.

    Returns:
        The report, or a table of several where spec names several probes.

    Raises:
        ProbeError: if it cannot be imported or run.
    """
    changes: dict[str, Any] = {}
    if cuts is not None:
        changes["cuts"] = cuts
    if ranks is not None:
        changes["ranks"] = _numbers(ranks)
    if dtype is not None:
        changes["dtype"] = _dtype(dtype)
    probes = load_probe(spec)
    if isinstance(probes, Probe):
        return replace(probes, **changes).check(name=spec)
    return check_heads({name: replace(probe, **changes) for name, probe in probes.items()})


def _numbers(ranks: str | Sequence[int]) -> tuple[int, ...]:
    try:
        parts = ranks.split(",") if isinstance(ranks, str) else ranks
        return tuple(int(part) for part in parts)
    except ValueError:
        raise ProbeError(f"ranks is {ranks!r}; expected numbers with commas: 1,2.") from None


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ProbeError(f"dtype is {dtype!r}; expected float64, float32, bfloat16 or float16.")
    return kind

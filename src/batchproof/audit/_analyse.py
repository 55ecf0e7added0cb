"""The audit of one file: its code is interpreted, and every rule looks at what happens in it."""

import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from batchproof.audit import rules
from batchproof.audit._dimensions._interpreter import interpret
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._finding import Finding
from batchproof.audit._lines import file_of, told
from batchproof.audit._project import Project, Source
from batchproof.audit._repairs import repair
from batchproof.audit._reports import Report
from batchproof.mistakes import mistake

Rule = Callable[[Trace], Iterator[Report]]

# a file in which a rule can find something has one of these
_WORTH = re.compile(
    r"\.backward\(|for\b.*\b\w*(?:[lL]oader|dl|iter\w*|batches)\b|(?:[lL]oss|criterion|entropy)\w*\("
    r"|(?:masked?|pad|valid)\w*\)?\)\.mean\(|_batch\(|[<>]=? *(?:self\.)?best|best\w* *[<>]"
    r"|DistributedSampler\(|DataLoader\(|\+= *\w*loss\b|labels(?:['\"]\])? ?=.*input_ids"
    r"|['\"]labels['\"] ?:"
)
# a script that loads a model, evaluates it over files, and switches autograd nowhere
_LOADS = re.compile(r"load_state_dict\(|torch\.load\(|from_pretrained\(|pretrained=True")
_GUARDS = re.compile(r"no_grad|inference_mode|set_grad_enabled|requires_grad|volatile")
_TORCH = re.compile(
    r"\b(torch|lightning|accelerate|transformers|fastai|ignite|optimizer|backward|criterion)\b|loader|_loss|losses"
)
# a file of another framework, whose words are alike and mean other things
_OTHERS = re.compile(
    r"^\s*(?:import|from)\s+(?:paddle|mxnet|jax|flax|tensorflow|keras|mindspore|jittor|tinygrad"
    r"|mlx|chainer|cntk|theano)\b",
    re.MULTILINE,
)
_IMPORTS_TORCH = re.compile(r"^\s*(?:import|from)\s+(?:torch|lightning|pytorch_)", re.MULTILINE)


# what rests on the batches, criteria and models that a caller gives; modes, autograd and the order
# of steps are judged where the code is
_BY_CALLERS = frozenset({
    "divided-twice", "divisor-not-seen", "duplicated-samples", "last-batch-reported",
    "leftover-window", "mean-of-batch-means", "mean-of-micro-batch-means", "mean-over-ranks",
    "padding-counted", "rank-local-reported", "ratio-of-counts", "scaled-loss-reported",
    "softmax-before-cross-entropy", "weight-per-micro-batch", "window-average-off", "wrong-divisor",
})  # fmt: skip


@cache
def all_rules() -> dict[str, Rule]:
    """Return the rules by the name of the mistake they find."""
    names = sorted(
        m.name for m in pkgutil.iter_modules(rules.__path__) if not m.name.startswith("_")
    )
    package = rules.__name__
    return {n.replace("_", "-"): import_module(f"{package}.{n}").find for n in names}


def analyse(source: Source, path: str, project: Project | None = None) -> list[Finding]:
    """Return the mistakes in a file, in the order of its lines, and those that it leads to.

    A function of another file that is given what this file builds, as a loader, shows mistakes
    there. Their findings name the absolute path of that file.

    Args:
        source: its text and its syntax tree.
        path: the file, as findings name it.
        project: what follows imports into files of the same project; None follows none.

    Examples:
        >>> import ast
        >>> from pathlib import Path
        >>> text = '''
        ... import torch.nn.functional as F
        ... from torch.utils.data import DataLoader
        ... def validate(model, data):
        ...     loader = DataLoader(data, batch_size=64)
        ...     total = 0.0
        ...     for x, y in loader:
        ...         total += F.cross_entropy(model(x), y).item()
        ...     return total / len(loader)
        ... '''
        >>> source = Source(Path("validate.py"), text, ast.parse(text))
        >>> [(f.line, f.name, f.grade) for f in analyse(source, "validate.py")]
        [(9, 'mean-of-batch-means', 'sure')]
    """
    text = source.text
    if not ((_WORTH.search(text) or _evaluates(text)) and _TORCH.search(text)):
        return []
    if _OTHERS.search(text) and not _IMPORTS_TORCH.search(text):
        return []
    findings = _Findings(source, path, project)
    for trace in interpret(source.path, source.tree, project, text):
        for name, find in all_rules().items():
            for report in find(trace):
                findings.add(name, report, trace)
    return findings.in_order()


def _evaluates(text: str) -> bool:
    """Return whether a script evaluates a model that it loads, and never switches autograd."""
    loads = ".eval()" in text and "for " in text and _LOADS.search(text)
    return bool(loads) and not _GUARDS.search(text)


class _Findings:
    """The findings that one file leads to, each place once, sure ones before likely ones.

    Args:
        source: the file.
        path: its path, as findings name it.
        project: what follows imports.
    """

    def __init__(self, source: Source, path: str, project: Project | None) -> None:
        self._root = project.root if project is not None else None
        self._here = os.path.realpath(source.path)
        self._names = {self._here: path}
        self._sources = {self._here: source}
        self._findings: dict[tuple[str, str, int, int], Finding] = {}

    def add(self, name: str, report: Report, trace: Trace) -> None:
        """Add what a rule reports."""
        node = report.node or report.event.node
        file = file_of(node) or os.path.realpath(report.event.module.path)
        source = self._source(file, trace)
        if source is None or (file != self._here and name not in _BY_CALLERS):
            return
        key = (file, name, *source.span(node)[:2])
        former = self._findings.get(key)
        if former is None or (former.grade, report.grade) == ("likely", "sure"):
            self._findings[key] = self._finding(name, report, trace, source, file)

    def in_order(self) -> list[Finding]:
        """Return them by file and line, those of the file itself first."""
        of_others = {key: key[0] != self._here for key in self._findings}
        order = sorted(self._findings, key=lambda k: (of_others[k], k[0], k[2], k[3], k[1]))
        return [self._findings[key] for key in order]

    def _source(self, file: str, trace: Trace) -> Source | None:
        if file not in self._sources:
            for module in {event.module for event in trace.events}:
                if os.path.realpath(module.path) == file:
                    text = "\n".join(module.lines)
                    self._sources[file] = Source(module.path, text, module.tree)
        return self._sources.get(file)

    def _finding(
        self, name: str, report: Report, trace: Trace, source: Source, file: str
    ) -> Finding:
        entry = mistake(name)
        return Finding(
            name,
            entry.code,
            report.grade,
            self._names.get(file, file),
            *source.span(report.node or report.event.node),
            entry.sentence,
            report.computes,
            report.meant,
            tuple(told(fact, file, self._root) for fact in report.evidence),
            report.remedy or entry.remedy.code,
            report.fix or repair(name, report, trace, source),
        )

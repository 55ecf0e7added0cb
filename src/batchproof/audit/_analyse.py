"""The audit of one file: its code is interpreted, and every rule looks at what happens in it."""

import ast
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from batchproof.audit import rules
from batchproof.audit._dimensions._interpreter import interpret
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._finding import Finding
from batchproof.audit._project import Project, Source
from batchproof.audit._repairs import repair
from batchproof.audit._reports import Report
from batchproof.mistakes import mistake

Rule = Callable[[Trace], Iterator[Report]]

# a file in which a rule can find something has one of these
_WORTH = re.compile(
    r"\.backward\(|for\b.*\b\w*(?:[lL]oader|dl|iter\w*|batches)\b|(?:[lL]oss|criterion|entropy)\w*\("
    r"|(?:masked?|pad|valid)\w*\)?\)\.mean\(|_batch\(|[<>]=? *(?:self\.)?best|best\w* *[<>]"
    r"|DistributedSampler\(|\+= *\w*loss\b|labels(?:['\"]\])? ?=.*input_ids"
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


@cache
def all_rules() -> dict[str, Rule]:
    """Return the rules by the name of the mistake they find."""
    names = sorted(
        m.name for m in pkgutil.iter_modules(rules.__path__) if not m.name.startswith("_")
    )
    package = rules.__name__
    return {n.replace("_", "-"): import_module(f"{package}.{n}").find for n in names}


def analyse(source: Source, path: str, project: Project | None = None) -> list[Finding]:
    """Return the mistakes in a file, in the order of its lines.

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
    traces = interpret(source.path, source.tree, project, text)
    findings: dict[tuple[str, int, int], Finding] = {}
    for trace in traces:
        for name, find in all_rules().items():
            for report in find(trace):
                if report.event.module is not trace.module or not _is_here(report, source):
                    continue
                finding = _finding(name, report, trace, source, path)
                key = name, finding.line, finding.column
                if key not in findings or (findings[key].grade, finding.grade) == (
                    "likely",
                    "sure",
                ):
                    findings[key] = finding
    return sorted(findings.values(), key=lambda f: (f.line, f.column, f.name))


def _evaluates(text: str) -> bool:
    """Return whether a script evaluates a model that it loads, and never switches autograd."""
    loads = ".eval()" in text and "for " in text and _LOADS.search(text)
    return bool(loads) and not _GUARDS.search(text)


def _is_here(report: Report, file: Source) -> bool:
    """Return whether the place of a report is in this file; a base class's is in another."""
    node = report.node
    if node is None or node is report.event.node:
        return True
    return any(each is node for each in ast.walk(file.tree))


def _finding(name: str, report: Report, trace: Trace, file: Source, path: str) -> Finding:
    entry = mistake(name)
    node = report.node or report.event.node
    line, column, end_line, end_column = file.span(node)
    return Finding(
        name,
        entry.code,
        report.grade,
        path,
        line,
        column,
        end_line,
        end_column,
        entry.sentence,
        report.computes,
        report.meant,
        report.evidence,
        report.remedy or entry.remedy.code,
        report.fix or repair(name, report, trace, file),
    )

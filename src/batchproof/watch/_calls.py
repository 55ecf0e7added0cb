"""The losses of a run: every call, its value, and the gradient that arrived at it."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from types import FunctionType
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from batchproof.mean import Mean
from batchproof.mean._exact_specs import Spec
from batchproof.mean._linear_cross_entropy import linear_cross_entropy
from batchproof.watch._bodies import Body
from batchproof.watch._events import LossEvent
from batchproof.watch._hits import Hits
from batchproof.watch._ledger import Loss
from batchproof.watch._losses import (
    Arrival,
    Call,
    arrival_of,
    counts_of,
    described,
    elements_of,
    hits_of,
    is_small,
    specs,
)
from batchproof.watch._place import occasion, site_of, user_site
from batchproof.watch._reads import Reads

KEPT = 100_000
PROBED = 8
# the number of live losses must grow over so many steps before it counts as growth
GROWING = 6
TAKES_LOG_PROBABILITIES = ("nll_loss", "kl_div", "ctc_loss")


class Life:
    """A mark in the graph of a loss, which lives as long as the graph."""

    __slots__ = ("__weakref__", "loss")

    def __init__(self, loss: Loss) -> None:
        self.loss = loss


class Calls:
    """Every call of a loss.

    Args:
        clock: returns the next number of the order of events.
        reads: the numbers that wait to be read.
        batch: returns the pass over a loader and the number of the batch that was read last.

    Attributes:
        losses: the calls, oldest first; the oldest are forgotten.
        has_rows: whether there were log-probabilities since the last backward pass.
        noise: marks of what was random or of the batch since the last loss: 1 dropout, 2 batch
            statistics.
        growth: by "file:line", how many losses of earlier steps were alive with their graphs when
            their number had grown with every one of several steps.
        transformed: "file:line" of losses inside a transform of torch.func, which are not followed.
        suspects: "file:line" and count of losses that were given the wrong kind of number, by
            the name of the mistake.
    """

    def __init__(
        self, clock: Callable[[], int], reads: Reads, batch: Callable[[], tuple[int, int]]
    ) -> None:
        self.clock, self.reads, self.batch = clock, reads, batch
        self.losses: list[Loss] = []
        self.forgotten = 0
        self.noise = 0
        self.growth: dict[str, int] = {}
        self.transformed: set[str] = set()
        self.suspects: dict[str, dict[str, list[int]]] = {}
        self.arrived: Callable[[Loss, Arrival], None] = _nobody
        self.in_backward: Callable[[], bool] = bool
        self.heard: Callable[[bool], None] = _nobody
        self._terms: dict[object, int] = {}
        self._probes: dict[int, int] = {}
        self._lives: list[ref[Life]] = []
        self._alive: list[int] = []
        self._last_step = 0
        self._hits = Hits()
        self.has_rows = False
        reads.before = self._hits.settle

    def bodies(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Return the functions that are watched, and the listener to the results of each."""
        pairs: list[tuple[Any, Callable[..., Any]]] = []
        for function, spec in specs().items():
            if isinstance(function, FunctionType):
                pairs.append((function, self._loss(spec, Body(function, _nobody).names)))
        pairs.append((linear_cross_entropy, self._pairs))
        return pairs

    def _loss(self, spec: Spec, names: tuple[str, ...]) -> Callable[..., None]:
        def saw(arguments: tuple[Any, ...], out: Any) -> None:
            # a tensor on the meta device has a shape and no numbers
            if type(out) is not Tensor or out.is_meta or self.in_backward():
                return
            if is_transformed(self.transformed):
                return
            call = described(spec, dict(zip(names, arguments, strict=True)), out)
            self.saw(call, out)

        return saw

    def saw(self, call: Call, out: Tensor) -> Loss:
        """Record a call of a loss, and listen for the gradient that arrives at it."""
        frame, key = occasion()
        classes = call.classes[0].shape[1:2] if call.classes is not None else ()
        term = self._terms.setdefault((*key, call.kind, call.reduction, *classes), len(self._terms))
        loss = Loss(
            self.clock(),
            site_of(frame),
            term,
            call.kind,
            call.reduction,
            out.requires_grad,
            call.samples,
        )
        loss.eps = epsilon(out.dtype)
        loss.size = out.numel() if out.ndim else 1
        loss.batch = self.batch()
        loss.noisy, self.noise = self.noise, 0
        self._read(loss, call, out)
        if out.requires_grad:
            self._listen(loss, call, out)
        self._keep(loss)
        self._probe(loss, call)
        return loss

    def _read(self, loss: Loss, call: Call, out: Tensor) -> None:
        if out.is_cpu:
            value = out.detach().sum(dtype=torch.float64) if out.ndim else out
            loss.value = value.item()
        else:
            # the script may divide it in place
            value = out.detach()
            self.reads.into(value.sum() if value.ndim else value.clone(), loss, "value")
        if call.counts is None and not isinstance(call.weight, Tensor):
            loss.weight, loss.elements = call.weight, float(call.elements)
        else:
            self._read_weight(loss, call)
        if loss.training and (not is_small(call) or self._hits.later(loss, call)):
            return
        if call.classes is not None:
            hits = hits_of(call)
            if hits is not None:
                self.reads.into(hits, loss, "hits")
        if not loss.training:
            loss.counts = counts_of(call)

    def _read_weight(self, loss: Loss, call: Call) -> None:
        self.reads.into(call.weight, loss, "weight")
        elements = elements_of(call)
        if elements is call.weight and call.first.is_cpu:
            loss.elements = loss.weight
        else:
            self.reads.into(elements, loss, "elements")

    def _listen(self, loss: Loss, call: Call, out: Tensor) -> None:
        counts = call.counts if out.ndim else None

        def hook(gradient: Tensor) -> None:
            loss.arrived = True
            if not gradient.ndim:
                mass = gradient.item() if gradient.is_cpu else gradient.detach()
                self.arrived(loss, Arrival(mass))
                return
            with torch.no_grad():
                self.arrived(loss, arrival_of(gradient, counts))

        out.register_hook(hook)  # type: ignore[no-untyped-call]
        if out.grad_fn is not None:
            life = Life(loss)
            marks_of(out.grad_fn)["batchproof"] = life
            self._lives.append(ref(life))

    def _keep(self, loss: Loss) -> None:
        self.losses.append(loss)
        if len(self.losses) > KEPT:
            self.forgotten += KEPT // 2
            del self.losses[: KEPT // 2]
        self.heard(loss.training)

    def stepped(self) -> None:
        """Count the losses of earlier steps that are alive with their graphs."""
        count, lives = 0, []
        for reference in self._lives:
            life = reference()
            if life is not None:
                lives.append(reference)
                count += life.loss.index < self._last_step
        self._lives = lives
        self._alive.append(count)
        self._last_step = self.clock()
        del self._alive[:-GROWING]
        if len(self._alive) == GROWING and all(a < b for a, b in pairwise(self._alive)):
            life = self._lives[0]()
            if life is not None and life.loss.arrived:
                self.growth[life.loss.site] = self._alive[-1]

    def by_hand(self, kind: str, logits: Tensor, axis: int, out: Tensor) -> None:
        """Record rows of log-probabilities, or of their normalisers, that may become a loss.

        Args:
            kind: "log_softmax" or "logsumexp".
            logits: the logits.
            axis: their classes.
            out: the result.
        """
        if type(out) is not Tensor or not out.requires_grad or self.in_backward():
            return
        if is_transformed(self.transformed):
            return
        classes = logits.shape[axis] if logits.ndim else 1
        frame, key = occasion()
        term = self._terms.setdefault((*key, kind, classes), len(self._terms))
        rows = logits.numel() // max(classes, 1)
        samples = int(logits.shape[0]) if logits.ndim > 1 else 1
        place = site_of(frame)
        loss = Loss(self.clock(), place, term, kind, "none", training=True, samples=samples)
        loss.weight = loss.elements = loss.size = rows
        loss.eps = epsilon(out.dtype)
        loss.batch = self.batch()
        shares = kind == "logsumexp"

        def hook(gradient: Tensor) -> None:
            loss.arrived = True
            if not loss.consumed:
                with torch.no_grad():
                    rows = gradient.flatten() if shares else -gradient.sum(axis)
                    self.arrived(loss, arrival_of(rows, None))

        out.register_hook(hook)  # type: ignore[no-untyped-call]
        if out.grad_fn is not None:
            marks_of(out.grad_fn)["batchproof_log"] = loss
            self.has_rows = True

    def _pairs(self, arguments: tuple[Any, ...], out: Any) -> None:  # noqa: ARG002
        if not isinstance(out, Mean) or self.in_backward():
            return
        weight = out.weight.detach()
        counts = weight if weight.ndim else None
        elements = int(out.weight.numel())
        call = Call(
            "linear_cross_entropy", "none", elements, elements, counts, weight.sum(), weight
        )
        self.saw(call, out.total)

    def marked(self, losses: Tensor, mask: Tensor | None) -> None:
        """Record losses that a line of the user's code marks."""
        if type(losses) is not Tensor or self.in_backward():
            return
        samples = int(losses.shape[0]) if losses.ndim else 1
        reduction = "none" if losses.ndim else "mean"
        weight = float(losses.numel()) if mask is None else mask.sum()
        call = Call("watch_loss", reduction, samples, losses.numel(), mask, weight, losses)
        self.saw(call, losses)

    def _probe(self, loss: Loss, call: Call) -> None:
        """Check whether a loss was given logits, probabilities or their logarithms."""
        if call.kind != "cross_entropy" and call.kind not in TAKES_LOG_PROBABILITIES:
            return
        tensor = call.first
        count = self._probes.get(loss.term, 0)
        self._probes[loss.term] = count + 1
        if call.kind == "cross_entropy" and count > PROBED and count % PROBED:
            return
        if loss.training:
            source = source_of(tensor)
            if call.kind in TAKES_LOG_PROBABILITIES:
                logarithm = marks_of(source).get("batchproof_log") if source else None
                if logarithm is not None:
                    logarithm.consumed = True
            elif call.kind == "cross_entropy":
                name = source.name() if source is not None else ""
                self._suspect("softmax-before-cross-entropy", loss, name.startswith("SoftmaxBack"))
        if call.kind == "nll_loss" and count < PROBED and tensor.numel():
            high = tensor.detach().amax()
            self.reads.later(
                high, lambda x: self._suspect("nll-without-log-softmax", loss, x > 1e-3)
            )

    def _suspect(self, name: str, loss: Loss, is_so: bool) -> None:  # noqa: FBT001
        counts = self.suspects.setdefault(name, {}).setdefault(loss.site, [0, 0])
        counts[0] += is_so
        counts[1] += 1

    def events(self) -> list[LossEvent]:
        """Return every call as a record; read the numbers first."""
        return [_event(loss) for loss in self.losses]


@cache
def epsilon(dtype: torch.dtype) -> float:
    """Return the relative precision of a type of numbers."""
    return torch.finfo(dtype).eps


def is_transformed(places: set[str]) -> bool:
    """Return whether a transform of torch.func is active, and record its place."""
    if peek_interpreter_stack() is None:
        return False
    places.add(user_site())
    return True


def marks_of(node: Any) -> dict[str, Any]:
    """Return the marks in a node of a graph; they live as long as the node."""
    marks: dict[str, Any] = node.metadata
    return marks


def source_of(tensor: Tensor) -> Any:
    """Return the node that made a tensor, before views and copies of it."""
    node = tensor.grad_fn
    for _ in range(6):
        name = node.name() if node is not None else ""
        plain = ("View", "Reshape", "Transpose", "Permute", "Squeeze", "Unsqueeze", "ToCopy")
        if node is None or not name.startswith((*plain, "UnsafeView", "Clone", "TBackward")):
            break
        node = node.next_functions[0][0] if node.next_functions else None
    return node


def _event(loss: Loss) -> LossEvent:
    total = loss.value
    if loss.reduction in {"mean", "batchmean"}:
        total = loss.value * loss.weight if loss.weight else 0.0
    hits = None if loss.hits is None else int(loss.hits)
    return LossEvent(
        loss.index,
        loss.site,
        loss.kind,
        loss.reduction,
        loss.training,
        loss.value,
        total,
        loss.weight,
        loss.elements,
        loss.samples,
        hits,
        counts=None if loss.counts is None else loss.counts.double().cpu().numpy(),
    )


def _nobody(*_: Any) -> None:
    return None

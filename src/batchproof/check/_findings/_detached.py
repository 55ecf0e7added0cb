"""Detached values: terms of the reported loss that have no gradient.

Only one form is called a mistake, for which docs/decisions/7 gives the reasons. The loss that is
back-propagated is a sum, and one of its terms, which depends on parameters of this step alone, is
detached as a whole: it moves the reported number and nothing else. It is proved if the gradient,
with what that detach keeps out of it, is exactly that of the reported loss. Everything else that is
detached may be meant, and is a note with its place.
"""

import math
from collections.abc import Sequence

from torch.autograd.graph import Node

from batchproof.check._findings._evidence import Evidence
from batchproof.check._measure._detached import DetachWatch, Pass
from batchproof.check._measure._graph import (
    Gate,
    Place,
    added,
    ancestors,
    gate_of,
    gates_of,
    is_penalty,
    parameters_of,
)
from batchproof.check._measure._slope import Gradients, add, dot
from batchproof.check._report._results import Diagnosis, diagnosis

# values that are nearer, relative, are one
_SAME = 1e-9
# of the gradient's size; what is less is not shown
_LEAST = 1e-6
# places shown
_SHOWN = 3


def detached_term(evidence: Evidence) -> list[Diagnosis]:
    """Return a diagnosis if a whole term of the reported loss is detached, and nothing else is."""
    slope, watch = evidence.slope, evidence.detached
    if slope is None or watch is None or watch.moves_itself:
        return []
    places = _whole_terms(watch)
    there = [watch.kept_out[place] for place in places]
    whole = add([slope.gradients, *there])
    if not places or not slope.fits(whole):
        return []
    share = _size(add(there)) / _size(slope.gradients)
    text = (
        f"A term of the reported loss has no gradient, although it depends on {_names(there)}: it "
        f"is made a constant by {' and by '.join(map(str, sorted(places)))}. It moves the number "
        "and not the parameters. With it, the gradient would be exactly that of the reported "
        f"loss; what is missing is {share:.2g} times as large as the gradient, whatever the cut."
    )
    return [diagnosis("gradient-of-another-loss", text, slope.misfit(whole))]


def notes_on_detached(evidence: Evidence) -> list[str]:
    """Return where the reported loss has another slope than the gradient, and what is detached.

    That alone is not a mistake: a target is held constant on purpose, or a penalty not reported.
    """
    slope, watch = evidence.slope, evidence.detached
    if slope is None or detached_term(evidence):
        return []
    steep = " and ".join(f"{factor:.3g}" for factor in slope.factors(slope.gradients))
    note = (
        "the reported loss is not the one whose gradient this is, nor a multiple of it: in two "
        f"directions it is {steep} times as steep. A value that is held constant (detach, no_grad) "
        "and a term that is not reported do so, and may be meant"
    )
    kept_out = {} if watch is None else watch.kept_out
    whole = _size(slope.gradients)
    sizes = {place: _size(gradients) / whole for place, gradients in kept_out.items()}
    most = sorted((place for place in sizes if sizes[place] > _LEAST), key=lambda p: -sizes[p])
    parts = [
        f"{place} keeps {sizes[place]:.2g} times the gradient's size out of it "
        f"({_names([kept_out[place]])})"
        for place in most[:_SHOWN]
    ]
    return [f"{note}; {'; '.join(parts)}" if parts else note]


def _whole_terms(watch: DetachWatch) -> set[Place]:
    """Return where whole terms are detached that cannot be meant; none if one of them can."""
    places = set[Place]()
    for one in watch.passes:
        gates = _terms_detached(watch, one)
        others = [root for other in watch.passes if other is not one for root in other.roots]
        if any(_may_be_meant(watch, gate, others) for gate in gates):
            return set()
        here = {gate.place for gate in gates}
        every = gates_of(ancestors(one.roots))
        if any(g.place in here and not any(g is gate for gate in gates) for g in every):
            return set()
        places |= here
    return places


def _terms_detached(watch: DetachWatch, one: Pass) -> list[Gate]:
    """Return the gates before whole terms of a sum; none where the sum shows another value.

    It does in `surrogate + (value - surrogate).detach()`, where a detached term takes away one that
    has a gradient.
    """
    terms, sums = added(one.roots)
    live = {term for term in terms if watch.has_gradient(term)}
    with_gradient = live | {node for node in sums if watch.has_gradient(node)}
    values_there = [watch.values[node] for node in with_gradient if node in watch.values]
    gates = []
    for term in terms:
        gate = gate_of(term)
        if gate is not None:
            inside, adding = added(_nodes(gate))
            values = [watch.values[node] for node in (*inside, *adding) if node in watch.values]
            if live & ancestors(inside) or any(_alike(v, w) for v in values for w in values_there):
                return []
            gates.append(gate)
        elif term not in live:
            nodes = ancestors([term])
            within = gates_of(nodes)
            if is_penalty(nodes) and all(g.source.is_leaf for g in within):
                gates += within
    return gates


def _may_be_meant(watch: DetachWatch, gate: Gate, others: Sequence[Node]) -> bool:
    """Return whether a detached term may have its gradient by other ways.

    Ways are another backward pass, an optimiser that is not of this step, weight decay, and, for
    values of more than one number, a surrogate that is computed again.
    """
    nodes = ancestors(_nodes(gate))
    if gate.source.is_leaf:
        return watch.decays or id(gate.source) not in watch.optimised
    beyond = any(id(p) not in watch.optimised for p in parameters_of(nodes))
    by_a_pass = gate.source.grad_fn in ancestors(others, through_gates=False)
    by_decay = watch.decays and is_penalty(nodes)
    return gate.source.numel() > 1 or beyond or by_a_pass or by_decay


def _nodes(gate: Gate) -> list[Node]:
    return [] if gate.source.grad_fn is None else [gate.source.grad_fn]


def _alike(left: float, right: float) -> bool:
    return abs(abs(left) - abs(right)) <= _SAME * abs(right)


def _size(gradients: Gradients) -> float:
    return math.sqrt(dot(gradients, gradients))


def _names(parts: Sequence[Gradients]) -> str:
    """Name the parameters in which there is a gradient."""
    names = sorted({name for part in parts for name, g in part.items() if bool(g.any())})
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

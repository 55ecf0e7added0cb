"""The best weights are kept by reference, so they move on with the training."""

import ast
import re
from collections.abc import Iterator

from batchproof.audit._dimensions._bests import begins_again, made_in, used_later
from batchproof.audit._dimensions._lattice import Instance, Model, StateDict, Unknown, Value
from batchproof.audit._dimensions._library import flat
from batchproof.audit._dimensions._names import dotted
from batchproof.audit._dimensions._questions import exchanges_weights
from batchproof.audit._dimensions._trace import Event, Trace
from batchproof.audit._reports import Report

_MODEL = re.compile(r"(.*[._])?(model|net|network|module|unet|encoder|decoder|classifier)\d?")
_COMPUTES, _MEANT = "weights of the last step", "weights at the best value"


def find(trace: Trace) -> Iterator[Report]:
    """Yield assignments that keep live weights under a condition, in a loop that trains on."""
    for event in trace.of("assign"):
        live = next((live for value in flat(event.value) if (live := _live(value))), "")
        if not _keeps_best(event, live):
            yield from _of_a_beginning(trace, event, live)
            continue
        if live and event.loop is None:
            yield from _in_an_object(event, live)
        if event.loop is None or not event.conditions:
            continue
        if not live or _written_at_once(trace, event) or exchanges_weights(event):
            continue
        same = [loop for loop in event.loops if not made_in(loop, live)]
        if not same:
            continue
        trains_on = bool(trace.within(same[0], "step"))
        used = used_later(event)
        evidence = (
            f"{event.text} refers to the tensors of {live}, which the optimiser changes in place",
            "training goes on after this line"
            if trains_on
            else "whether training goes on is out of sight",
        )
        name = live if live.endswith("()") else f"{live}.state_dict()"
        remedy = f"{event.text} = copy.deepcopy({name})"
        yield Report(event, _COMPUTES, _MEANT, evidence, trains_on and used, remedy=remedy)


def _of_a_beginning(trace: Trace, event: Event, live: str) -> Iterator[Report]:
    """Yield weights kept before a loop that trains, with which each of its passes is to begin."""
    step = begins_again(trace, event, live)
    if step is not None:
        evidence = (
            f"{event.text} refers to the tensors of {live}, which line {step.line} changes",
            "loading it back in the next pass of the loop changes nothing",
        )
        remedy = f"{event.text} = copy.deepcopy({live})"
        yield Report(event, _COMPUTES, "weights before the first pass", evidence, remedy=remedy)


def _keeps_best(event: Event, live: str) -> bool:
    """Return whether an assignment keeps the best weights, by its name or by its test and use.

    A dict of weights that is made where a value is the best so far is kept for later where the
    code reads it after the loop, and not before.
    """
    if "best" in event.text.lower() or not live or not event.loops or not event.conditions:
        return "best" in event.text.lower()
    if not ("state_dict" in live and "best" in ast.unparse(event.conditions[-1].test).lower()):
        return False
    nodes = [n for n in ast.walk(event.module.tree) if isinstance(n, ast.Name | ast.Attribute)]
    loads = [n.lineno for n in nodes if isinstance(n.ctx, ast.Load) and dotted(n) == event.text]
    reads = [line for line in loads if line >= event.line]
    last = int(getattr(event.loops[0].node, "end_lineno", 0))
    return bool(reads) and min(reads) > last


def _in_an_object(event: Event, live: str) -> Iterator[Report]:
    """Yield weights that an object keeps, as for early stopping, and a model gets back later."""
    if not event.text.startswith("self.") or event.function == "__init__":
        return
    for node in ast.walk(event.module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".load_state_dict"):
            names = [dotted(argument).rpartition(".")[2] for argument in node.args]
            if event.text.removeprefix("self.") in names:
                evidence = (
                    f"{event.text} refers to the tensors of {live}, which training changes",
                    f"line {node.lineno} loads it back",
                )
                remedy = f"{event.text} = copy.deepcopy({live})"
                yield Report(event, _COMPUTES, _MEANT, evidence, remedy=remedy)
                return


def _live(value: Value) -> str:
    """Return the live weights that a value refers to, or ""."""
    if isinstance(value, StateDict):
        return "" if value.is_copy else f"{value.model}.state_dict()"
    if isinstance(value, Model | Instance | Unknown) and _MODEL.fullmatch(value.text):
        return value.text
    return ""


def _written_at_once(trace: Trace, event: Event) -> bool:
    """Return whether the weights are saved to a file under the same condition."""
    tests = {id(c.test) for c in event.conditions}
    for save in trace.of("save"):
        if (
            save.text == event.text
            and save.order > event.order
            and tests & {id(c.test) for c in save.conditions}
        ):
            return True
    return False

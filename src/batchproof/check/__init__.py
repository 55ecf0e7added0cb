"""Does this step depend on how its data is cut, and why?

    check_step, check_evaluate   run the user's own code under many cuts of the same samples
    check_heads                  many probes in one call, one row each
    Report, CutResult, Diagnosis what they return
    Cut, MicroBatch, cut_of      cuts of one's own; MicroBatch is also called Piece
    Probe                        the arguments of a check as one object, for the command line

The command line is a thin wrapper around two functions:

    run_probe(spec, *, cuts="standard", ranks=None, dtype=None) -> Report
        spec is MODULE:NAME (or FILE.py:NAME); NAME is a Probe, a callable that returns one, or a
        mapping of names to Probes (then a Heads is returned, which has the same .ok, str() and
        .to_json()). cuts: "standard" or names separated by commas; ranks: "1,2" or a sequence of
        numbers; dtype: "float64", "float32", ... None keeps what the probe says. ProbeError, one
        line, where it cannot be run (exit status 2); report.ok says whether the exit status is 0
        or 1; str(report), report.to_json(path), report.to_html(path) write it.
    write_example(path) -> Path
        writes a probe file to start from; refuses to overwrite one.
    write_draft(place, path) -> Path
        writes a probe of the function at FILE:LINE, which is read and not imported; refuses in
        one line what a check cannot call.

The names are bound when first used, so that writing an example loads no torch.
"""

from typing import TYPE_CHECKING, Any

from batchproof._extras import first_use, refuse_without_torch

if TYPE_CHECKING:
    from batchproof.check._draft import write_draft
    from batchproof.check._example import write_example
    from batchproof.check._measure._cuts import Cut, MicroBatch, cut_of
    from batchproof.check._measure._cuts import MicroBatch as Piece
    from batchproof.check._probe import Probe, load_probe, run_probe
    from batchproof.check._report._many import Heads, check_heads
    from batchproof.check._report._report import Report
    from batchproof.check._report._results import CutResult, Diagnosis
    from batchproof.check._step import check_evaluate, check_step

refuse_without_torch(["batchproof.check.example"])

_HOME = {
    "write_draft": "_draft",
    "write_example": "_example",
    **dict.fromkeys(("Cut", "MicroBatch", "cut_of"), "_measure._cuts"),
    **dict.fromkeys(("Probe", "load_probe", "run_probe"), "_probe"),
    **dict.fromkeys(("Heads", "check_heads"), "_report._many"),
    "Report": "_report._report",
    **dict.fromkeys(("CutResult", "Diagnosis"), "_report._results"),
    **dict.fromkeys(("check_evaluate", "check_step"), "_step"),
}

__all__ = [
    "Cut",
    "CutResult",
    "Diagnosis",
    "Heads",
    "MicroBatch",
    "Piece",
    "Probe",
    "Report",
    "check_evaluate",
    "check_heads",
    "check_step",
    "cut_of",
    "load_probe",
    "run_probe",
    "write_draft",
    "write_example",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return first_use(__name__, _HOME, "MicroBatch" if name == "Piece" else name)

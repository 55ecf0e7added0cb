"""The file format of run folders, and its reader. Loads no torch.

Record, COLUMNS     one line of the log: a pair with its step, epoch, name and unit
RunFolder           reads a folder: configuration, records, times, best mean, weights
History, Choice     the records of a run in order; the best epoch and the runner-up
curve_of, over      records of whole passes as a curve with its standard errors; its axis
runs_in             the runs in a folder: itself, or one for each model that was trained
reserved            makes the next free folder of runs/NAME, runs/NAME-2, ...
latest_folder       the last of those that holds a run
expect_free         refuses a folder that is not empty
"""

from batchproof.runs._folder import (
    BEST,
    CONFIG,
    FORMER_BEST,
    KEPT,
    LAST,
    METRICS,
    PREVIOUS,
    RECORD,
    TABLE,
    TIMING,
    RunFolder,
    holds_a_run,
    runs_in,
)
from batchproof.runs._history import (
    Choice,
    History,
    Over,
    State,
    choice,
    curve_of,
    over,
    value_with_error,
)
from batchproof.runs._names import expect_free, latest_folder, next_folder, reserved
from batchproof.runs._record import COLUMNS, Record, Span

__all__ = [
    "BEST",
    "COLUMNS",
    "CONFIG",
    "FORMER_BEST",
    "KEPT",
    "LAST",
    "METRICS",
    "PREVIOUS",
    "RECORD",
    "TABLE",
    "TIMING",
    "Choice",
    "History",
    "Over",
    "Record",
    "RunFolder",
    "Span",
    "State",
    "choice",
    "curve_of",
    "expect_free",
    "holds_a_run",
    "latest_folder",
    "next_folder",
    "over",
    "reserved",
    "runs_in",
    "value_with_error",
]
